// Command proxmoxve is Pulumi's proxmoxve plugin, built from the Terraform provider that the published one
// wraps.
//
// Tokens and properties are named as in the pulumi_proxmoxve wheel. `proxmoxve schema --out DIR` writes the
// schema and the table that maps each resource to one of the upstream's two providers; the plugin expects
// both beside its own file.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bpg/terraform-provider-proxmox/fwprovider"
	"github.com/bpg/terraform-provider-proxmox/proxmoxtf/provider"
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	pfgen "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	sdk "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// version is set by the linker.
var version string

// name splits a Terraform name into module and member: proxmox_sdn_zone_vlan is Vlan in sdn/zone. Names that
// begin with proxmox_virtual_environment_ get the suffix Legacy.
func name(terraform string) (module, member string) {
	rest, legacy := strings.CutPrefix(terraform, "proxmox_virtual_environment_")
	words := strings.Split(strings.TrimPrefix(rest, "proxmox_"), "_")
	last := words[len(words)-1]
	member = strings.ToUpper(last[:1]) + last[1:]
	if legacy {
		member += "Legacy"
	}
	if len(words) == 1 {
		return "index", member
	}
	return strings.Join(words[:len(words)-1], "/"), member
}

// resourceID takes the ID from the upstream's ordinary `id` attribute, which the wheel calls resource_id.
func resourceID(_ context.Context, state resource.PropertyMap) (resource.ID, error) {
	id := state["resourceId"]
	switch {
	case id.IsString():
		return resource.ID(id.StringValue()), nil
	case id.IsNumber():
		return resource.ID(fmt.Sprintf("%.0f", id.NumberValue())), nil
	}
	return "", fmt.Errorf("resourceId: neither a string nor a number: %v", id)
}

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
	ctx := context.Background()
	generate := len(os.Args) > 1 && os.Args[1] == "schema"
	metadata := []byte("{}")
	if !generate {
		metadata = beside("bridge-metadata.json")
	}
	info := tfbridge.ProviderInfo{
		P: pfbridge.MuxShimWithPF(ctx, sdk.NewProvider(provider.ProxmoxVirtualEnvironment()),
			fwprovider.New(version)()),
		Name:           "proxmoxve",
		ResourcePrefix: "proxmox",
		Version:        version,
		MetadataInfo:   tfbridge.NewProviderMetadata(metadata),
		Resources:      map[string]*tfbridge.ResourceInfo{},
	}
	info.P.ResourcesMap().Range(func(terraform string, r shim.Resource) bool {
		id, ok := r.Schema().GetOk("id")
		// The wheel uses the bridge's own name, sdnControllerEvpnId, for this property.
		if ok && (id.Required() || id.Optional()) && terraform != "proxmox_sdn_controller_evpn" {
			info.Resources[terraform] = &tfbridge.ResourceInfo{
				Fields:    map[string]*tfbridge.SchemaInfo{"id": {Name: "resourceId", Type: "string"}},
				ComputeID: resourceID,
			}
		}
		return true
	})
	info.MustComputeTokens(tfbridge.Strategy{
		Resource: func(terraform string, r *tfbridge.ResourceInfo) error {
			module, member := name(terraform)
			r.Tok = tfbridge.MakeResource("proxmoxve", module, member)
			return nil
		},
		DataSource: func(terraform string, d *tfbridge.DataSourceInfo) error {
			module, member := name(terraform)
			d.Tok = tfbridge.MakeDataSource("proxmoxve", module, "get"+member)
			return nil
		},
	})
	info.SetAutonaming(255, "-")
	if generate {
		pfgen.MainWithMuxer("proxmoxve", info)
		return
	}
	pfbridge.MainWithMuxer(ctx, "proxmoxve", info, beside("schema.json"))
}
