package main

import (
	"cmp"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// source is a data source in the form of Grafana's provisioning files and API.
type source struct {
	UID       string `yaml:"uid" json:"uid"`
	Name      string `yaml:"name" json:"name"`
	Type      string `yaml:"type" json:"type"`
	Access    string `yaml:"access" json:"access"`
	URL       string `yaml:"url" json:"url"`
	IsDefault bool   `yaml:"isDefault" json:"isDefault"`
	ID        int    `yaml:"-" json:"id"`
	OrgID     int    `yaml:"orgId" json:"orgId"`
	ReadOnly  bool   `yaml:"-" json:"readOnly"`
	JSONData  struct {
		TLSAuth           bool   `yaml:"tlsAuth" json:"tlsAuth"`
		TLSAuthWithCACert bool   `yaml:"tlsAuthWithCACert" json:"tlsAuthWithCACert"`
		ServerName        string `yaml:"serverName" json:"serverName"`
	} `yaml:"jsonData" json:"jsonData"`
	Secure struct {
		TLSCACert     string `yaml:"tlsCACert"`
		TLSClientCert string `yaml:"tlsClientCert"`
		TLSClientKey  string `yaml:"tlsClientKey"`
	} `yaml:"secureJsonData" json:"-"`
	tls *tls.Config
}

// dashboard is a dashboard as Grafana lists it, with its provisioned JSON.
type dashboard struct {
	UID   string   `json:"uid"`
	Title string   `json:"title"`
	Tags  []string `json:"tags"`
	file  string
	model json.RawMessage
}

// newGrafana reads the provisioning files and serves what the lab's stack uses of Grafana. As in Grafana, its
// API requires the admin's name and password (GF_SECURITY_ADMIN_USER, …_PASSWORD or …_PASSWORD__FILE).
func newGrafana() (http.Handler, error) {
	folder := cmp.Or(os.Getenv("GF_PATHS_PROVISIONING"), "/etc/grafana/provisioning")
	sources, err := provisioned(filepath.Join(folder, "datasources"))
	if err != nil {
		return nil, err
	}
	dashboards, err := provisionedDashboards(filepath.Join(folder, "dashboards"))
	if err != nil {
		return nil, err
	}
	admin, err := adminOnly()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"database": "ok", "version": title("Grafana")})
	})
	mux.Handle("GET /api/datasources", admin(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, sources)
	}))
	for _, one := range sources {
		prefix := "/api/datasources/proxy/uid/" + one.UID
		mux.Handle(prefix+"/", admin(one.forward(prefix)))
	}
	mux.Handle("GET /api/search", admin(func(w http.ResponseWriter, _ *http.Request) {
		found := []map[string]any{}
		for id, one := range dashboards {
			found = append(found, map[string]any{"id": id + 1, "uid": one.UID, "title": one.Title, "tags": one.Tags,
				"type": "dash-db", "uri": "db/" + one.UID, "url": "/d/" + one.UID + "/" + one.UID, "isStarred": false})
		}
		answer(w, http.StatusOK, found)
	}))
	mux.Handle("GET /api/dashboards/uid/{uid}", admin(func(w http.ResponseWriter, r *http.Request) {
		for _, one := range dashboards {
			if one.UID == r.PathValue("uid") {
				meta := map[string]any{"provisioned": true, "provisionedExternalId": one.file, "type": "db", "canSave": false}
				answer(w, http.StatusOK, map[string]any{"meta": meta, "dashboard": one.model})
				return
			}
		}
		answer(w, http.StatusNotFound, map[string]string{"message": "Dashboard not found"})
	}))
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, map[string]string{"message": "Not found, or not in this " + title("Grafana")})
	})
	mux.Handle("GET /login", page("Grafana", "It checks no login here; its API asks for the admin's name and password."))
	mux.Handle("GET /{$}", http.RedirectHandler("/login", http.StatusFound))
	return mux, nil
}

func provisioned(folder string) ([]source, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.y*ml"))
	if err != nil {
		return nil, err
	}
	found := []source{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var parsed struct {
			Datasources []source `yaml:"datasources"`
		}
		if err := yaml.Unmarshal(text, &parsed); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, one := range parsed.Datasources {
			if target, err := url.Parse(one.URL); one.UID == "" || err != nil || target.Host == "" {
				return nil, fmt.Errorf("%s: data source %q needs a uid and a url with a host", file, one.Name)
			}
			if err := one.readTLS(); err != nil {
				return nil, fmt.Errorf("%s: data source %q: %w", file, one.Name, err)
			}
			one.ID, one.OrgID, one.ReadOnly, one.Access = len(found)+1, 1, true, cmp.Or(one.Access, "proxy")
			found = append(found, one)
			log.Printf("data source %s (%s) at %s", one.Name, one.UID, one.URL)
		}
	}
	return found, nil
}

// readTLS reads the data source's client certificate and CA; as in Grafana, $__file{PATH} is a file's
// content.
func (s *source) readTLS() error {
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.JSONData.ServerName}
	for _, value := range []*string{&s.Secure.TLSCACert, &s.Secure.TLSClientCert, &s.Secure.TLSClientKey} {
		if path, ok := strings.CutPrefix(*value, "$__file{"); ok {
			text, err := os.ReadFile(strings.TrimSuffix(path, "}"))
			if err != nil {
				return err
			}
			*value = string(text)
		}
	}
	if s.JSONData.TLSAuthWithCACert {
		s.tls.RootCAs = x509.NewCertPool()
		if !s.tls.RootCAs.AppendCertsFromPEM([]byte(s.Secure.TLSCACert)) {
			return errors.New("tlsCACert holds no certificate")
		}
	}
	if s.JSONData.TLSAuth {
		pair, err := tls.X509KeyPair([]byte(s.Secure.TLSClientCert), []byte(s.Secure.TLSClientKey))
		if err != nil {
			return err
		}
		s.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// provisionedDashboards returns every dashboard in the folders that the provisioning files name.
func provisionedDashboards(folder string) ([]dashboard, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.y*ml"))
	if err != nil {
		return nil, err
	}
	found := []dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var parsed struct {
			Providers []struct {
				Options struct {
					Path string `yaml:"path"`
				} `yaml:"options"`
			} `yaml:"providers"`
		}
		if err := yaml.Unmarshal(text, &parsed); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, provider := range parsed.Providers {
			models, err := filepath.Glob(filepath.Join(provider.Options.Path, "*.json"))
			if err != nil {
				return nil, err
			}
			for _, model := range models {
				text, err := os.ReadFile(model)
				if err != nil {
					return nil, err
				}
				one := dashboard{file: filepath.Base(model), model: text}
				if err := json.Unmarshal(text, &one); err != nil {
					return nil, fmt.Errorf("%s: %w", model, err)
				}
				if one.UID == "" || one.Title == "" {
					return nil, fmt.Errorf("%s: a dashboard needs a uid and a title", model)
				}
				found = append(found, one)
				log.Printf("dashboard %s (%s)", one.Title, one.UID)
			}
		}
	}
	return found, nil
}

// forward sends a request to the data source, without the caller's credentials, as Grafana does.
func (s source) forward(prefix string) http.HandlerFunc {
	if s.Access != "proxy" {
		return func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusBadRequest, map[string]string{"message": "The data source's access is not proxy"})
		}
	}
	target, _ := url.Parse(s.URL)
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{TLSClientConfig: s.tls, IdleConnTimeout: time.Minute},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Authorization")
			r.Out.Header.Del("Cookie")
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			log.Printf("data source %s: %v", s.UID, err)
			answer(w, http.StatusBadGateway, map[string]string{"message": "The data source does not answer"})
		},
	}
	return http.StripPrefix(prefix, proxy).ServeHTTP
}

// adminOnly returns middleware that requires the admin's name and password, with Grafana's defaults.
func adminOnly() (func(http.HandlerFunc) http.Handler, error) {
	user := cmp.Or(os.Getenv("GF_SECURITY_ADMIN_USER"), "admin")
	password := cmp.Or(os.Getenv("GF_SECURITY_ADMIN_PASSWORD"), "admin")
	if file := os.Getenv("GF_SECURITY_ADMIN_PASSWORD__FILE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		password = strings.TrimSpace(string(text))
	}
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	return func(next http.HandlerFunc) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name, given, _ := r.BasicAuth()
			if !same(name, user) || !same(given, password) {
				answer(w, http.StatusUnauthorized, map[string]string{"message": "Unauthorized"})
				return
			}
			next(w, r)
		})
	}, nil
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
