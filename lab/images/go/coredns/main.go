// CoreDNS with the one plugin that examples/stacks/Pulumi.streams.yaml uses; its others are hundreds of modules.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/hosts"
)

func main() {
	coremain.Run()
}
