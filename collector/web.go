// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-project/holdfast/collector/authority"
)

// Times of the HTTP server. Answers have none, for some are streams; the API bounds its own.
const (
	headerTimeout   = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeaderBytes  = 32 << 10
)

// readiness says why agents' records cannot be stored, nil when they can.
type readiness interface{ Ready() error }

// routes puts what the collector serves by itself in front of the API.
func routes(api http.Handler, registry *prometheus.Registry, ready readiness, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready.Ready(); err != nil {
			// The reason is in the log: it names paths, and this page needs no token.
			answer(w, http.StatusServiceUnavailable, "nothing can be stored at the moment: see the collector's log")
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	return mux
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	// A client that has gone needs no answer.
	_, _ = fmt.Fprintln(w, text)
}

func newWeb(cfg Config, a *authority.Authority, handler http.Handler) (*http.Server, error) {
	settings := a.ServerTLS()
	// People have tokens, not certificates.
	settings.ClientAuth, settings.ClientCAs = tls.NoClientCert, nil
	settings.NextProtos = []string{"h2", "http/1.1"}
	switch {
	case (cfg.HTTPCert == "") != (cfg.HTTPKey == ""):
		return nil, errors.New("--http-cert and --http-key go together: give both or none")
	case cfg.HTTPCert != "":
		pair := &keyPair{cert: cfg.HTTPCert, key: cfg.HTTPKey, log: cfg.Log}
		if err := pair.load(); err != nil {
			return nil, err
		}
		settings.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current(), nil }
	}
	return &http.Server{
		Handler: handler, TLSConfig: settings, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(cfg.Log.With("server", "http").Handler(), slog.LevelWarn),
	}, nil
}

// serveWeb serves the API until ctx ends. Streams end with ctx, other requests may finish.
func (c *Collector) serveWeb(ctx context.Context) error {
	requests, cancel := context.WithCancel(ctx)
	defer cancel()
	c.web.BaseContext = func(net.Listener) context.Context { return requests }
	served := make(chan error, 1)
	go func() { served <- c.web.ServeTLS(c.http, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", c.http.Addr(), err)
	case <-ctx.Done():
	}
	deadline, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer done()
	if err := c.web.Shutdown(deadline); err != nil {
		c.log.Warn("requests were cut off", "error", errors.Join(err, c.web.Close()))
	}
	<-served
	return ctx.Err()
}

// keyPair is a certificate from files that others renew.
type keyPair struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  time.Time
}

// load reads the files.
func (k *keyPair) load() error {
	info, err := os.Stat(k.cert)
	if err != nil {
		return fmt.Errorf("read the certificate that --http-cert names: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		return fmt.Errorf("read the certificate %s with the key %s: %w", k.cert, k.key, err)
	}
	k.loaded, k.stamp = &pair, info.ModTime()
	return nil
}

// current is the certificate, read again if the file has changed. While what is there cannot be read, the one before is
// kept.
func (k *keyPair) current() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if info, err := os.Stat(k.cert); err == nil && info.ModTime().Equal(k.stamp) {
		return k.loaded
	}
	if err := k.load(); err != nil {
		k.log.Warn("the changed certificate cannot be used, keeping the one before", "error", err)
	}
	return k.loaded
}

// localNames are the names under which this machine may be dialled, with those given.
func localNames(given []string) ([]string, error) {
	names := append([]string(nil), given...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of this machine: %w", err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && len(names) < 100 {
			names = append(names, ip.IP.String())
		}
	}
	return names, nil
}
