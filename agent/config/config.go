// SPDX-License-Identifier: Apache-2.0

// Package config is the agent's configuration: every setting is a flag and, under the same name, a key of a YAML file.
// A flag given on the command line wins over the file. Unknown keys, wrong types and impossible values are errors, all
// of a file at once, each with its line. The package starts nothing.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/workload"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Config holds the settings of holdfast-agent run, in the order in which --help shows them.
type Config struct {
	// Collector is HOST:PORT of the collector's gRPC listener. Empty: the agent works alone and keeps alerts on disk.
	Collector string
	// JoinTokenFile holds the token that enrols the agent at its first start.
	JoinTokenFile string
	// ServiceAccountTokenFile holds a projected ServiceAccount token that enrols the agent instead, CollectorCAFile the
	// certificates of the collector's authority. Both may appear after the agent's start.
	ServiceAccountTokenFile string
	CollectorCAFile         string
	// DataDir keeps the identity and the spools.
	DataDir string
	// Node is the name that the agent goes by.
	Node string

	ContainerdSocket string
	// NRISocket is where the runtime listens for plugins. Empty: NRI is not used. NRIWait is how long a container's start is
	// held up at most until its policy is in force.
	NRISocket  string
	NRIWait    time.Duration
	CgroupRoot string

	// Kubernetes says whether the API server is asked for pods, owners and services: auto, on or off. Auto is on where there
	// is a service account or a Kubeconfig, which is the file to use outside a cluster.
	Kubernetes string
	Kubeconfig string

	// Mode holds for the workloads and signals of which nothing else says how strict to be; ProtectMode for the rules that
	// need no learning. PolicyFile holds profiles and modes for use without a collector, and adds to what a collector says.
	Mode        string
	ProtectMode string
	// DLPMode and WAFMode hold for what workloads send and receive, of which nothing else says how strict to be.
	DLPMode, WAFMode string
	// DLPLabels says which files matter, and what may be sent all the same.
	DLPLabels  string
	PolicyFile string
	// WAFRuleSet are patterns of the workloads whose requests go to the core rule set too, WAFRuleSetCPU the percentage of one
	// processor that this may take, WAFRuleSetFile its settings.
	WAFRuleSet     []string
	WAFRuleSetCPU  int
	WAFRuleSetFile string
	// BrakeWorkloads, BrakeCanary and Promote are agent/mode.Brakes.
	BrakeWorkloads int
	BrakeCanary    time.Duration
	Promote        bool

	// Record lists event classes that are recorded of every workload.
	Record []string

	// AlertSpoolBytes and RecordSpoolBytes bound the disk queues.
	AlertSpoolBytes  int64
	RecordSpoolBytes int64
	// RingBytes is the size of the ring for bulk events, a power of two.
	RingBytes uint32
	// ContentRate bounds what is read of what a container sends and gets, in bytes a second.
	ContentRate uint64
	// MaxProcesses and MaxCgroups bound what is known at one time.
	MaxProcesses uint32
	MaxCgroups   uint32
	// PendingTimeout is how long an event waits for its container's name.
	PendingTimeout time.Duration

	// PinDir is a folder of a BPF file system where programs and maps outlive the agent. NoPin: they end with it.
	PinDir string
	NoPin  bool
	// WhenDead says what becomes of the modes when no agent has run for DeadAfter: keep, monitor or release.
	WhenDead  string
	DeadAfter time.Duration

	// MetricsListen is HOST:PORT for /metrics, /healthz and /readyz. Empty: not served.
	MetricsListen string
	LogLevel      string
	LogFormat     string
}

// DefaultPinDir is where programs and maps are kept unless pin-dir says otherwise.
const DefaultPinDir = "/sys/fs/bpf/holdfast"

// Bind registers a flag for each setting, with its default.
func (c *Config) Bind(flags *pflag.FlagSet) {
	host, _ := os.Hostname()
	flags.StringVar(&c.Collector, "collector", "", "collector to report to, `HOST:PORT`; without it alerts wait on disk")
	flags.StringVar(&c.JoinTokenFile, "join-token-file", "", "`FILE` with a join token (holdfast-collector token create), needed once")
	flags.StringVar(&c.ServiceAccountTokenFile, "service-account-token-file", "", "`FILE` with a projected Kubernetes ServiceAccount token to enrol with, instead of a join token; it may appear later")
	flags.StringVar(&c.CollectorCAFile, "collector-ca-file", "", "PEM `FILE` with the certificate of the collector's authority, for enrolment with a ServiceAccount token; it may appear later")
	flags.StringVar(&c.DataDir, "data-dir", "/var/lib/holdfast-agent", "`DIR` for identity and spools")
	flags.StringVar(&c.Node, "node", host, "`NAME` of this node")
	flags.StringVar(&c.ContainerdSocket, "containerd-socket", "/run/containerd/containerd.sock", "`PATH` of containerd's socket")
	flags.StringVar(&c.NRISocket, "nri-socket", "/var/run/nri/nri.sock", "`PATH` of the runtime's socket for NRI plugins, used while it is there; empty: not used")
	flags.DurationVar(&c.NRIWait, "nri-wait", 500*time.Millisecond, "how long a container's start may be held up, over NRI, until its policy is in force")
	flags.StringVar(&c.CgroupRoot, "cgroup-root", "", "`DIR` where cgroup2 is mounted (default: found)")
	flags.StringVar(&c.Kubernetes, "kubernetes", "auto", "whether Kubernetes is asked for pods, their owners, and services: auto (where there is a service account or a kubeconfig), on or off")
	flags.StringVar(&c.Kubeconfig, "kubeconfig", "", "`FILE` with the address of Kubernetes' API server and credentials, outside a cluster; node must be the name of the node's object")
	flags.StringVar(&c.Mode, "mode", "learn", "`MODE` of workloads that nothing else gives one: off, learn, monitor (tell what enforce would block) or enforce (block what the profile does not list)")
	flags.StringVar(&c.ProtectMode, "protect-mode", "off", "`MODE` of the rules that need no learning (drifted and fileless programs, protected files, the metadata service, raw sockets): off, monitor or enforce")
	flags.StringVar(&c.DLPMode, "dlp-mode", "off", "`MODE` of what workloads send: off (not read), learn (read and counted), monitor (sensitive data is told) or enforce (what is certain is refused too)")
	flags.StringVar(&c.WAFMode, "waf-mode", "off", "`MODE` of what workloads are sent over HTTP: off (not read), learn (read and counted) or monitor (attacks are told)")
	flags.StringVar(&c.DLPLabels, "dlp-labels", "", "`FILE` with labels of files whose reading matters, and with what may be sent all the same, for dlp-mode")
	flags.StringSliceVar(&c.WAFRuleSet, "waf-crs", nil, "`WORKLOADS`, by patterns such as shop/web, of which the requests that waf-mode reads go to the OWASP core rule set too")
	flags.IntVar(&c.WAFRuleSetCPU, "waf-crs-cpu", 10, "most `PERCENT` of one processor that the core rule set takes; requests that find no room are counted")
	flags.StringVar(&c.WAFRuleSetFile, "waf-crs-file", "", "`FILE` with the paranoia level, threshold and exclusions of the core rule set")
	flags.StringVar(&c.PolicyFile, "policy-file", "", "`FILE` with profiles and their modes, as holdfast profile export writes it")
	flags.IntVar(&c.BrakeWorkloads, "brake-workloads", 5, "most `WORKLOADS` that may have deeds blocked within a minute; beyond, those newly enforced fall back to monitor; 0: any number")
	flags.DurationVar(&c.BrakeCanary, "brake-canary", 0, "how long one replica on the node enforces before the others follow")
	flags.BoolVar(&c.Promote, "promote", false, "let signals that nobody set a mode for rise to monitor when they are stable, and to enforce after a day without anything that would have been blocked")
	flags.StringSliceVar(&c.Record, "record", nil, "event `CLASSES` to record of every workload, such as exec,open,connect")
	flags.Int64Var(&c.AlertSpoolBytes, "alert-spool-bytes", 256<<20, "most `BYTES` of alerts kept on disk while the collector is away")
	flags.Int64Var(&c.RecordSpoolBytes, "record-spool-bytes", 512<<20, "most `BYTES` of recorded events kept on disk")
	flags.Uint32Var(&c.RingBytes, "ring-bytes", 8<<20, "`BYTES` of the kernel's ring for bulk events, a power of two; all of it counts in the resident set")
	flags.Uint64Var(&c.ContentRate, "content-rate", 4<<20, "most `BYTES` a second that are read of what a container sends and gets where dlp or waf ask for it, twice that at once; what is beyond is counted")
	flags.Uint32Var(&c.MaxProcesses, "max-processes", 65536, "most processes known at one time")
	flags.Uint32Var(&c.MaxCgroups, "max-cgroups", 16384, "most cgroups known at one time")
	flags.DurationVar(&c.PendingTimeout, "pending-timeout", 10*time.Second, "how long an event waits for the name of its container")
	flags.StringVar(&c.PinDir, "pin-dir", DefaultPinDir, "`DIR` of a BPF file system where programs and maps outlive the agent")
	flags.BoolVar(&c.NoPin, "no-pin", false, "let programs and maps end with the agent")
	flags.StringVar(&c.WhenDead, "when-dead", "keep", "what becomes of the modes when the agent is dead: keep, monitor or release")
	flags.DurationVar(&c.DeadAfter, "dead-after", 5*time.Minute, "how long the agent must give no sign of life to be dead")
	flags.StringVar(&c.MetricsListen, "metrics-listen", "", "serve /metrics, /healthz and /readyz on `HOST:PORT`")
	flags.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&c.LogFormat, "log-format", "text", "text or json")
}

// Validate reports every impossible value.
func (c *Config) Validate() error {
	var errs []error
	bad := func(setting, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", setting, fmt.Sprintf(format, args...)))
	}
	for setting, value := range map[string]string{"collector": c.Collector, "metrics-listen": c.MetricsListen} {
		if value == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(value); err != nil {
			bad(setting, "%q is not HOST:PORT: %v", value, err)
		}
	}
	if c.JoinTokenFile != "" && c.ServiceAccountTokenFile != "" {
		bad("join-token-file, service-account-token-file", "exclude each other: give one of them")
	}
	if (c.ServiceAccountTokenFile == "") != (c.CollectorCAFile == "") {
		bad("service-account-token-file, collector-ca-file", "belong together: give both or none")
	}
	if c.Node == "" {
		bad("node", "is empty: name the node")
	}
	if c.DataDir == "" {
		bad("data-dir", "is empty: name a directory")
	}
	if !slices.Contains([]string{"auto", "on", "off"}, c.Kubernetes) {
		bad("kubernetes", "%q is none of auto, on, off", c.Kubernetes)
	}
	if c.Kubernetes == "off" && c.Kubeconfig != "" {
		bad("kubeconfig", "has no meaning with kubernetes off")
	}
	c.validateModes(bad)
	c.validateRuleSet(bad)
	if c.BrakeWorkloads < 0 || c.BrakeCanary < 0 {
		bad("brake-workloads, brake-canary", "must not be negative")
	}
	for _, class := range c.Record {
		if _, ok := event.Parse(class); !ok {
			bad("record", "%q is no event class; known: %s", class, strings.Join(event.Names(), ", "))
		}
	}
	if c.RingBytes < 1<<16 || c.RingBytes&(c.RingBytes-1) != 0 {
		bad("ring-bytes", "%d is not a power of two of at least 65536", c.RingBytes)
	}
	if c.ContentRate < 1<<16 || c.ContentRate > 1<<36 {
		bad("content-rate", "%d is not between 65536 and %d", c.ContentRate, 1<<36)
	}
	const leastSpool = 16 << 20
	if c.AlertSpoolBytes < leastSpool || c.RecordSpoolBytes < leastSpool {
		bad("alert-spool-bytes, record-spool-bytes", "must be at least %d", leastSpool)
	}
	if c.PendingTimeout <= 0 || c.PendingTimeout > time.Minute {
		bad("pending-timeout", "%s is not between 0 and 1m", c.PendingTimeout)
	}
	if c.NRIWait <= 0 || c.NRIWait > 2*time.Second {
		bad("nri-wait", "%s is not between 0 and 2s, which is what runtimes give", c.NRIWait)
	}
	if !c.NoPin && !filepath.IsAbs(c.PinDir) {
		bad("pin-dir", "%q is not an absolute path; no-pin keeps nothing", c.PinDir)
	}
	if !slices.Contains([]string{"keep", "monitor", "release"}, c.WhenDead) {
		bad("when-dead", "%q is none of keep, monitor, release", c.WhenDead)
	}
	if c.WhenDead != "keep" && c.NoPin {
		bad("when-dead", "%q has no meaning with no-pin: nothing outlives the agent", c.WhenDead)
	}
	if c.DeadAfter < 10*time.Second {
		bad("dead-after", "%s is less than 10s: an agent that restarts would be taken for dead", c.DeadAfter)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		bad("log-level", "%q is none of debug, info, warn, error", c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log-format", "%q is neither text nor json", c.LogFormat)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// Logger makes the logger that the settings ask for. Validate must have passed.
func (c *Config) Logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// validateRuleSet reports what is wrong with the settings of the core rule set, but for its file.
func (c *Config) validateRuleSet(bad func(setting, format string, args ...any)) {
	for _, pattern := range c.WAFRuleSet {
		if _, err := workload.Compile(pattern); err != nil {
			bad("waf-crs", "%v", err)
		}
	}
	if c.WAFRuleSetCPU < 1 || c.WAFRuleSetCPU > 100 {
		bad("waf-crs-cpu", "%d is not between 1 and 100", c.WAFRuleSetCPU)
	}
	if c.WAFRuleSetFile != "" && len(c.WAFRuleSet) == 0 {
		bad("waf-crs-file", "has no meaning without waf-crs")
	}
}

// validateModes reports modes that their signals cannot have.
func (c *Config) validateModes(bad func(setting, format string, args ...any)) {
	all := []profile.Mode{profile.ModeOff, profile.ModeLearn, profile.ModeMonitor, profile.ModeEnforce}
	for _, of := range []struct {
		setting, value string
		modes          []profile.Mode
	}{
		{"mode", c.Mode, all}, {"protect-mode", c.ProtectMode, []profile.Mode{profile.ModeOff, profile.ModeMonitor, profile.ModeEnforce}},
		{"dlp-mode", c.DLPMode, all}, {"waf-mode", c.WAFMode, all[:3]},
	} {
		if !slices.Contains(of.modes, profile.Mode(of.value)) {
			bad(of.setting, "%q is none of %v", of.value, of.modes)
		}
	}
}
