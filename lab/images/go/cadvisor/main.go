// Command cadvisor serves the metrics of cAdvisor's library, because module proxies do not serve cAdvisor's
// own command.
//
// The flags it has are the real ones by name and default. No container runtime is registered: it uses no
// socket and reads only control groups, so it identifies a container by the path of its group alone.
package main

import (
	"flag"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/cadvisor/cache/memory"
	"github.com/google/cadvisor/container"
	v2 "github.com/google/cadvisor/info/v2"
	"github.com/google/cadvisor/manager"
	"github.com/google/cadvisor/metrics"
	"github.com/google/cadvisor/utils/sysfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

var (
	listenIP  = flag.String("listen_ip", "", "IP to listen on, defaults to all IPs")
	port      = flag.String("port", "8080", "port to listen")
	endpoint  = flag.String("prometheus_endpoint", "/metrics", "endpoint to expose Prometheus metrics on")
	keep      = flag.Duration("storage_duration", 2*time.Minute, "how long to keep data stored")
	labels    = flag.Bool("store_container_labels", true, "convert container labels and environment variables into labels on Prometheus metrics")
	rawPrefix = flag.String("raw_cgroup_prefix_whitelist", "", "comma-separated cgroup path prefixes to collect even when -docker_only is specified")
	disabled  = container.MetricSet{
		container.NetworkAdvancedTcpUsageMetrics: {}, container.NetworkTcpUsageMetrics: {},
		container.NetworkUdpUsageMetrics: {}, container.ProcessMetrics: {}, container.ProcessSchedulerMetrics: {},
		container.HugetlbUsageMetrics: {}, container.ReferencedMemoryMetrics: {}, container.CPUTopologyMetrics: {},
		container.ResctrlMetrics: {}, container.CPUSetMetrics: {}, container.MemoryNumaMetrics: {},
	}
)

func main() {
	klog.InitFlags(nil)
	flag.Var(&disabled, "disable_metrics", "comma-separated list of metrics to be disabled")
	flag.Parse()
	included := container.AllMetrics.Difference(disabled)

	watcher, err := manager.New(memory.New(*keep, nil), sysfs.NewRealSysFs(), manager.HousekeepingConfigFlags,
		included, http.DefaultClient, strings.Split(*rawPrefix, ","), nil, "", 0)
	if err != nil {
		klog.Exitf("no manager: %v", err)
	}
	if err := watcher.Start(); err != nil {
		klog.Exitf("manager did not start: %v", err)
	}

	naming := metrics.DefaultContainerLabels
	if !*labels {
		naming = metrics.BaseContainerLabels(nil)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.NewPrometheusMachineCollector(watcher, included),
		metrics.NewPrometheusCollector(watcher, naming, included, clock.RealClock{},
			v2.RequestOptions{IdType: v2.TypeName, Count: 1, Recursive: true}),
	)
	mux := http.NewServeMux()
	mux.Handle(*endpoint, promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	server := &http.Server{Addr: *listenIP + ":" + *port, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	klog.Infof("cAdvisor library v0.53.0, built by homelab-network, on %s, pid %d", server.Addr, os.Getpid())
	klog.Exit(server.ListenAndServe())
}
