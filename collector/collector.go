// SPDX-License-Identifier: Apache-2.0

// Package collector is the composition root of the collector: it opens the store and the authority, joins ingest, fleet and
// the HTTP API, and runs all of them as one group. It decides nothing that belongs to one of them. Collector.Run owns
// every goroutine.
package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/ingest"
	"github.com/holdfast-project/holdfast/collector/kube"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
)

// Config is what a collector is made of.
type Config struct {
	// DataDir holds everything that the collector keeps. It is created with mode 0700. One collector at a time serves it.
	DataDir string
	// GRPCListen is where agents connect, HTTPListen where people do: host and port.
	GRPCListen, HTTPListen string
	// HTTPCert and HTTPKey are PEM files with a certificate for HTTPListen. Without them it has one of the collector's own
	// authority. They are read again when they change.
	HTTPCert, HTTPKey string
	// Hostnames are further names and addresses of the collector, for its own certificates.
	Hostnames []string
	// Alerts and Records bound what is kept.
	Alerts, Records sqlite.Bounds
	// Kubernetes says whether objects of Kubernetes are taken over and Events written.
	Kubernetes kube.Switch
	// KubernetesEnrol is the ServiceAccount whose tokens enrol nodes, NAMESPACE/NAME; empty means that none do.
	// KubernetesAudience is what the tokens must be for.
	KubernetesEnrol, KubernetesAudience string
	// Kubeconfig is where the API server of Kubernetes is, outside of a cluster.
	Kubeconfig string
	// Log is where the collector logs; nil means nowhere.
	Log *slog.Logger
}

// Collector is a collector that is ready to run. Use New.
type Collector struct {
	log       *slog.Logger
	lock      *dirLock
	store     *sqlite.Store
	authority *authority.Authority
	fleet     *fleet.Fleet
	ingest    *ingest.Server
	janitor   *janitor
	// kube is nil where there is no Kubernetes.
	kube *kube.Controller
	web  *http.Server
	grpc net.Listener
	http net.Listener
}

// New opens everything and listens, but serves nothing yet. Run has to be called, or Close.
func New(ctx context.Context, cfg Config) (_ *Collector, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Collector{log: cfg.Log}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.lock, err = lockDir(cfg.DataDir); err != nil {
		return nil, err
	}
	if c.store, err = sqlite.Open(ctx, sqlite.Config{Dir: cfg.DataDir, Alerts: cfg.Alerts, Records: cfg.Records, Log: cfg.Log}); err != nil {
		return nil, err
	}
	names, err := localNames(cfg.Hostnames)
	if err != nil {
		return nil, err
	}
	attester, err := newAttester(cfg)
	if err != nil {
		return nil, err
	}
	if c.authority, err = authority.Open(authority.Config{Dir: cfg.DataDir, Store: c.store, Names: names, Attester: attester}); err != nil {
		return nil, err
	}
	if c.fleet, err = fleet.New(ctx, fleet.Config{Store: c.store, Log: cfg.Log}); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	if c.ingest, err = ingest.New(ingest.Config{Authority: c.authority, Fleet: c.fleet, Store: c.store, Log: cfg.Log, Metrics: registry}); err != nil {
		return nil, err
	}
	c.janitor = &janitor{store: c.store, fleet: c.fleet, log: cfg.Log, now: time.Now, usage: map[string]store.Usage{}}
	for _, m := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), c.janitor,
	} {
		if err := registry.Register(m); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	if err := c.joinKubernetes(cfg, registry); err != nil {
		return nil, err
	}
	api, err := query.New(query.Config{Store: c.store, Fleet: c.fleet, Tokens: c.authority, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	if c.web, err = newWeb(cfg, c.authority, routes(api, registry, c.ingest, c.log)); err != nil {
		return nil, err
	}
	if c.grpc, err = listen(ctx, "grpc-listen", cfg.GRPCListen); err != nil {
		return nil, err
	}
	if c.http, err = listen(ctx, "http-listen", cfg.HTTPListen); err != nil {
		return nil, err
	}
	return c, nil
}

// joinKubernetes makes what the collector does in Kubernetes, if it is to do anything there.
func (c *Collector) joinKubernetes(cfg Config, registry prometheus.Registerer) error {
	on, kubeconfig := cmp.Or(cfg.Kubernetes, kube.Off), cfg.Kubeconfig
	if on == kube.Off && cfg.KubernetesEnrol != "" {
		kubeconfig = "" // It is given for enrolment alone.
	}
	connection, err := kube.Connect(on, kubeconfig)
	if err != nil || connection == nil {
		return err
	}
	instance, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("this machine's name, for Events: %w", err)
	}
	c.kube, err = kube.New(kube.Config{
		Connection: connection, Fleet: c.fleet, Alerts: c.store, Authority: c.authority.PEM(), Instance: instance,
		Log: cfg.Log.With("part", "kubernetes"), Metrics: registry,
	})
	if err == nil {
		c.log.Info("speaking to Kubernetes", "server", connection.Config.Host, "namespace", connection.Namespace)
	}
	return err
}

func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s, which --%s names: %w", address, flag, err)
	}
	return l, nil
}

// GRPCAddr is where agents connect.
func (c *Collector) GRPCAddr() net.Addr { return c.grpc.Addr() }

// HTTPAddr is where people connect.
func (c *Collector) HTTPAddr() net.Addr { return c.http.Addr() }

// Authority is the collector's authority.
func (c *Collector) Authority() *authority.Authority { return c.authority }

// Fleet is the nodes that the collector knows.
func (c *Collector) Fleet() *fleet.Fleet { return c.fleet }

// Run serves until ctx ends or a part fails, and closes everything before it returns. It returns nil when ctx ended.
func (c *Collector) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	var group run.Group
	parts := map[string]func(context.Context) error{
		"grpc":    func(ctx context.Context) error { return c.ingest.Run(ctx, c.grpc) },
		"http":    c.serveWeb,
		"alerts":  c.ingest.Alerts().Run,
		"records": c.ingest.Records().Run,
		"refused": c.ingest.Refusals().Run,
		"fleet":   c.fleet.Run,
		"janitor": c.janitor.run,
		"caller": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}
	if c.kube != nil {
		parts["kubernetes"] = c.kube.Run
	}
	for name, part := range parts {
		ctx, cancel := context.WithCancel(ctx)
		group.Add(func() error {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}, func(error) { cancel() })
	}
	c.log.Info("serving", "grpc", c.grpc.Addr().String(), "http", c.http.Addr().String())
	err = group.Run()
	c.log.Info("stopped", "error", err)
	return err
}

// Close gives back what New took. It must not be called while Run runs; Run calls it at its end.
func (c *Collector) Close() error {
	var errs []error
	for _, l := range []net.Listener{c.grpc, c.http} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close a listener: %w", err))
		}
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
		c.store = nil
	}
	if c.lock != nil {
		errs = append(errs, c.lock.release())
		c.lock = nil
	}
	return errors.Join(errs...)
}
