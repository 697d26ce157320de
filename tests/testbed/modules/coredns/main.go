// A CoreDNS of only the parts the node's name server needs; the stock one compiles three clouds' libraries too.
// It may not add behaviour: it chooses plugins and their order, the rest is CoreDNS.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// A query meets them in this order. template comes last (the stock order has it before hosts):
	// it is what answers for every name that nobody else knows.
	dnsserver.Directives = []string{"ready", "errors", "hosts", "kubernetes", "template"}
	coremain.Run()
}
