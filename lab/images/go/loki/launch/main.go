// Command launch is /usr/bin/loki in the lab's image: Loki 3.6.3 with the -health option of Loki 3.6.5.
// Loki's image has no shell or client, so without the option it has no means for a health check.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"
)

func main() {
	if !slices.ContainsFunc(os.Args[1:], func(word string) bool { return word == "-health" || word == "--health" }) {
		fmt.Fprintln(os.Stderr, syscall.Exec("/usr/libexec/loki", append([]string{"loki"}, os.Args[1:]...), os.Environ()))
		os.Exit(1)
	}
	flag.Bool("health", false, "ask whether Loki is ready")
	url := flag.String("health.url", "http://localhost:3100/ready", "what to ask")
	flag.Parse()
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(*url)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Loki is unhealthy:", err)
		os.Exit(1)
	}
}
