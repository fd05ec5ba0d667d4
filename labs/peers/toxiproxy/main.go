// Toxiproxy as a proxy of one port, beside which `make bench` measures Murphy.
//
//	toxiproxy LISTEN UPSTREAM LATENCY_MS
//
// passes what comes at LISTEN on to UPSTREAM, late by so much that way; with 0 it is not told to do anything. It says
// `ready`, and ends with its standard input.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: toxiproxy LISTEN UPSTREAM LATENCY_MS")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "toxiproxy:", err)
		os.Exit(1)
	}
}

func serve(listen, upstream, latency string) error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "peer", listen, upstream)
	if err := proxy.Start(); err != nil {
		return err
	}
	if latency != "0" {
		toxic := fmt.Sprintf(`{"type": "latency", "stream": "upstream", "attributes": {"latency": %s}}`, latency)
		if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
