// Command terraform is the provider that the plugin wraps, as OpenTofu starts it, for `make bench`.
package main

import (
	"github.com/hashicorp/terraform-plugin-sdk/v2/plugin"
	"github.com/terraform-providers/terraform-provider-docker/internal/provider"
)

func main() {
	plugin.Serve(&plugin.ServeOpts{
		ProviderAddr: "bench.invalid/homelab/docker",
		ProviderFunc: provider.New("bench"),
	})
}
