//go:build iceberg

package iceberg_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// catalogue is a REST catalogue: the routes of the specification that tables are
// made, read and changed by, with what it knows in memory and metadata in a folder.
type catalogue struct {
	t   testing.TB
	s   *httptest.Server
	dir string
	// root is where tables go, config what it tells its users of it.
	root   string
	config iceberg.Properties

	mu         sync.Mutex
	namespaces map[string]bool
	tables     map[string]string // where the metadata is, by name
	commits    int
	// fault spoils a commit: before it, or its answer; nil for neither.
	fault func(n int) fault
}

// fault is what becomes of a commit.
type fault struct{ before, after bool }

func serve(t testing.TB) *catalogue {
	t.Helper()
	dir := t.TempDir()
	c := &catalogue{t: t, dir: dir, root: "file://" + dir, namespaces: map[string]bool{}, tables: map[string]string{}}
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"defaults": map[string]string{}, "overrides": map[string]string{}, "endpoints": []string{
			"HEAD /v1/{prefix}/namespaces/{namespace}", "POST /v1/{prefix}/namespaces", "POST /v1/{prefix}/namespaces/{namespace}/tables",
			"GET /v1/{prefix}/namespaces/{namespace}/tables/{table}", "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}"}})
	})
	m.HandleFunc("HEAD /v1/namespaces/{ns}", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.namespaces[r.PathValue("ns")] {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	m.HandleFunc("POST /v1/namespaces", func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Namespace []string }
		c.read(r, &q)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.namespaces[strings.Join(q.Namespace, "\x1f")] = true
		answer(w, http.StatusOK, map[string]any{"namespace": q.Namespace, "properties": map[string]string{}})
	})
	m.HandleFunc("POST /v1/namespaces/{ns}/tables", c.create)
	m.HandleFunc("GET /v1/namespaces/{ns}/tables/{name}", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.show(w, c.tables[r.PathValue("name")])
	})
	m.HandleFunc("POST /v1/namespaces/{ns}/tables/{name}", c.commit)
	c.s = httptest.NewServer(m)
	t.Cleanup(c.s.Close)
	return c
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, kind, text string) {
	answer(w, status, map[string]any{"error": map[string]any{"message": text, "type": kind, "code": status}})
}

func (c *catalogue) read(r *http.Request, into any) {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		c.t.Error(err)
	}
}

func (c *catalogue) show(w http.ResponseWriter, at string) {
	if at == "" {
		refuse(w, http.StatusNotFound, "NoSuchTableException", "there is no such table")
		return
	}
	b, err := os.ReadFile(at)
	if err != nil {
		c.t.Error(err)
	}
	answer(w, http.StatusOK, map[string]any{"metadata-location": at, "metadata": json.RawMessage(b), "config": c.config})
}

func (c *catalogue) write(name string, n int, meta table.Metadata) string {
	b, err := json.Marshal(meta)
	if err != nil {
		c.t.Error(err)
	}
	at := filepath.Join(c.dir, "catalogue", fmt.Sprintf("%s-%05d.metadata.json", name, n))
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		c.t.Error(err)
	}
	if err := os.WriteFile(at, b, 0o600); err != nil {
		c.t.Error(err)
	}
	return at
}

func (c *catalogue) create(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Name          string
		Schema        *iceberg.Schema
		PartitionSpec *iceberg.PartitionSpec `json:"partition-spec"`
		Properties    iceberg.Properties
	}
	c.read(r, &q)
	spec := q.PartitionSpec
	if spec == nil {
		spec = iceberg.UnpartitionedSpec
	}
	meta, err := table.NewMetadata(q.Schema, spec, table.UnsortedSortOrder, c.root+"/"+q.Name, q.Properties)
	if err != nil {
		refuse(w, http.StatusBadRequest, "BadRequestException", err.Error())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tables[q.Name] != "" {
		refuse(w, http.StatusConflict, "AlreadyExistsException", "it is there")
		return
	}
	c.tables[q.Name] = c.write(q.Name, 0, meta)
	c.show(w, c.tables[q.Name])
}

func (c *catalogue) commit(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Requirements table.Requirements
		Updates      table.Updates
	}
	c.read(r, &q)
	name := r.PathValue("name")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits++
	var f fault
	if c.fault != nil {
		f = c.fault(c.commits)
	}
	if f.before {
		panic(http.ErrAbortHandler)
	}
	b, err := os.ReadFile(c.tables[name])
	if err != nil {
		refuse(w, http.StatusNotFound, "NoSuchTableException", err.Error())
		return
	}
	meta, err := table.ParseMetadataBytes(b)
	if err != nil {
		c.t.Error(err)
	}
	for _, x := range q.Requirements {
		if err := x.Validate(meta); err != nil {
			refuse(w, http.StatusConflict, "CommitFailedException", err.Error())
			return
		}
	}
	if meta, err = table.UpdateTableMetadata(meta, q.Updates, c.tables[name]); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequestException", err.Error())
		return
	}
	c.tables[name] = c.write(name, c.commits, meta)
	if f.after {
		panic(http.ErrAbortHandler)
	}
	c.show(w, c.tables[name])
}

// fails sets what becomes of commits from now on.
func (c *catalogue) fails(f func(n int) fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits, c.fault = 0, f
}
