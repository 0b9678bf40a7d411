//go:build iceberg

package daemon

import (
	"testing"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// What is configured reaches the engine.
func TestIcebergIsBuiltIn(t *testing.T) {
	t.Parallel()
	c := &config.Config{Destinations: []config.Destination{{Type: config.TypeIceberg, Name: "tables", URL: config.NewSecret("https://me@catalog.example/api/"),
		Iceberg: &config.Iceberg{Catalog: config.CatalogREST, Namespace: "crm", Mode: config.ModeUpsert, FlushInterval: config.DefaultFlushInterval,
			Properties: map[string]config.Secret{"s3.region": config.NewSecret("x")}}}}}
	specs := destinationSpecs(c)
	if len(specs) != 1 || specs[0].Engine == nil || specs[0].Gather != config.DefaultFlushInterval {
		t.Fatalf("it comes to %+v", specs)
	}
	if got, want := specs[0].Engine.Target(), "https://catalog.example/api, crm, upsert"; got != want {
		t.Errorf("it writes to %q, want %q", got, want)
	}
}
