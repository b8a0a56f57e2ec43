// Command standin answers in place of services that are available only as images. It labels itself in its
// pages, in the X-Stand-In header and in its log, and does not look like the service it replaces.
//
//	standin grafana                                  Grafana's health, data sources and their proxy, dashboards
//	standin page --name Jellyfin --listen ADDR:PORT  one page for every path
package main

import (
	"flag"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "grafana":
		handler, err := newGrafana()
		if err != nil {
			log.Fatal(err)
		}
		serve("Grafana", ":3000", handler)
	case "page":
		flags := flag.NewFlagSet("page", flag.ExitOnError)
		name := flags.String("name", "", "the service that this stands in for")
		listen := flags.String("listen", "", "ADDR:PORT")
		flags.Parse(os.Args[2:])
		if *name == "" || *listen == "" || flags.NArg() > 0 {
			log.Fatal("page: --name and --listen are needed, and nothing else")
		}
		serve(*name, *listen, page(*name, "One page for every path."))
	default:
		log.Fatal("usage: standin grafana | standin page --name NAME --listen ADDR:PORT")
	}
}

// title is the label that every answer carries.
func title(name string) string { return fmt.Sprintf("stand-in for %s, not %s", name, name) }

var sheet = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title></head>
<body><h1>{{.Title}}</h1><p>{{.Text}} The lab of homelab-network runs this where the real image can't be had.</p></body></html>
`))

func page(name, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		sheet.Execute(w, struct{ Title, Text string }{title(name), text})
	})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// serve labels and logs handler's answers until the process ends.
func serve(name, listen string, handler http.Handler) {
	labelled := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Stand-In", title(name))
		seen := &recorder{w, http.StatusOK}
		handler.ServeHTTP(seen, r)
		log.Printf("%s %s %q %d", r.RemoteAddr, r.Method, r.URL.Path, seen.status)
	})
	server := &http.Server{Addr: listen, Handler: labelled, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	log.Printf("%s, on %s", title(name), listen)
	log.Fatal(server.ListenAndServe())
}
