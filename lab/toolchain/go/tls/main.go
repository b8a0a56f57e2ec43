// Command tls is Pulumi's tls plugin, built from the Terraform provider that the published one wraps.
//
// Tokens and properties are named as in the pulumi_tls wheel. `tls schema --out DIR` writes the schema and
// the bridge's own table; the plugin expects both beside its own file.
package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-provider-tls/internal/provider"
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	pfgen "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
)

// version is set by the linker.
var version string

func beside(name string) []byte {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(self), name))
	if err != nil {
		panic(err)
	}
	return data
}

func main() {
	generate := len(os.Args) > 1 && os.Args[1] == "schema"
	metadata := []byte("{}")
	if !generate {
		metadata = beside("bridge-metadata.json")
	}
	info := tfbridge.ProviderInfo{
		P:                              pfbridge.ShimProvider(provider.New()),
		Name:                           "tls",
		Version:                        version,
		MetadataInfo:                   tfbridge.NewProviderMetadata(metadata),
		EnableZeroDefaultSchemaVersion: true,
		EnableAccurateBridgePreview:    true,
	}
	info.MustComputeTokens(tokens.SingleModule("tls_", "index", tokens.MakeStandard("tls")))
	if generate {
		pfgen.Main("tls", info)
		return
	}
	schema := pfbridge.ProviderMetadata{PackageSchema: beside("schema.json")}
	pfbridge.Main(context.Background(), "tls", info, schema)
}
