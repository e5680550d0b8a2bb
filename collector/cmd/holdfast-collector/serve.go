// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"

	"github.com/holdfast-project/holdfast/collector"
	"github.com/holdfast-project/holdfast/collector/kube"
)

// size is a flag in bytes, which takes units: 512MiB, 10GB.
type size int64

// String is pflag.Value.String.
func (s *size) String() string {
	if *s == 0 {
		return "0"
	}
	return humanize.IBytes(uint64(*s))
}

// Set is pflag.Value.Set.
func (s *size) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is no size such as 512MiB or 10GB", text)
	}
	*s = size(n)
	return nil
}

// Type is pflag.Value.Type.
func (*size) Type() string { return "SIZE" }

func newServe() *cobra.Command {
	cfg := collector.Config{Kubernetes: kube.Auto}
	alerts, records, free := size(20<<30), size(20<<30), size(512<<20)
	var level slog.Level
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Take what agents send, store it, and serve it",
		Long: `Serve takes what agents send, stores it, and serves it until it is told to stop (SIGTERM or Ctrl-C).

At the first start it makes a certificate authority of its own in the data directory. ca.pem there is what the holdfast
command is given as HOLDFAST_CA. Only one collector at a time serves a data directory.

Days of alerts and of recorded events that are too old, or too much, are dropped as a whole, the oldest first, and
counted. When less than --min-free is left on the disk, recorded days are dropped; when the disk is full, nothing is
acknowledged, /readyz says so, and agents keep what they have until there is space again.

The log goes to standard error, a JSON object a line.`,
		Example: `  holdfast-collector serve --data-dir /var/lib/holdfast --grpc-listen :7443 --http-listen :7480`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.DataDir, err = dataDir(cmd); err != nil {
				return err
			}
			if cfg.Alerts.Days < 0 || cfg.Records.Days < 0 {
				return errors.New("days to keep cannot be negative; 0 keeps them for ever")
			}
			cfg.Alerts.Bytes, cfg.Records.Bytes, cfg.Records.MinFree = int64(alerts), int64(records), int64(free)
			cfg.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			grpclog.SetLoggerV2(&grpcLog{log: cfg.Log.With("library", "grpc")})
			c, err := collector.New(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return c.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.GRPCListen, "grpc-listen", ":7443", "`HOST:PORT` for agents")
	flags.StringVar(&cfg.HTTPListen, "http-listen", ":7480", "`HOST:PORT` for the holdfast command, /metrics, /healthz and /readyz")
	flags.StringVar(&cfg.HTTPCert, "http-cert", "", "PEM `FILE` with a certificate chain for --http-listen, instead of one of the collector's own authority")
	flags.StringVar(&cfg.HTTPKey, "http-key", "", "PEM `FILE` with the key of --http-cert")
	flags.StringSliceVar(&cfg.Hostnames, "hostname", nil, "further `NAME` or address under which the collector is dialled, for its certificate; this machine's are known; may be repeated")
	flags.IntVar(&cfg.Alerts.Days, "alerts-keep-days", 90, "`DAYS` for which alerts are kept; 0 is for ever")
	flags.IntVar(&cfg.Records.Days, "records-keep-days", 7, "`DAYS` for which recorded events are kept; 0 is for ever")
	flags.Var(&alerts, "alerts-max-bytes", "disk space that alerts may take; 0 is any")
	flags.Var(&records, "records-max-bytes", "disk space that recorded events may take; 0 is any")
	flags.Var(&free, "min-free", "disk space to leave free by dropping recorded days; 0 is none")
	flags.Var(&cfg.Kubernetes, "kubernetes", "whether to take HoldfastProfile and HoldfastPolicy objects over, publish the authority's certificate and write Events; auto: in a pod with a service account, and where --kubeconfig is given")
	flags.StringVar(&cfg.KubernetesEnrol, "kubernetes-enrol", "", "`NAMESPACE/SERVICEACCOUNT` whose projected tokens enrol agents, each for the node that its pod runs on; empty: none do")
	flags.StringVar(&cfg.KubernetesAudience, "kubernetes-audience", "holdfast-collector", "`AUDIENCE` that those tokens must be for")
	flags.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "`FILE` that names the API server of Kubernetes, outside of a cluster")
	flags.TextVar(&level, "log-level", slog.LevelInfo, "least `LEVEL` that is logged: debug, info, warn or error")
	return cmd
}

// dataDir is the data directory that a command was given.
func dataDir(cmd *cobra.Command) (string, error) {
	dir, err := cmd.Flags().GetString("data-dir")
	if err != nil {
		return "", err
	}
	if dir == "" {
		return "", errors.New("no data directory is given: name one with --data-dir DIR, or data-dir in the file of --config")
	}
	return dir, nil
}
