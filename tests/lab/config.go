// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// dirPrefix begins the name of every lab's directory, by which Start finds
// those that were left behind.
const dirPrefix = "holdfast-lab-"

// Config says how a lab is set up. The zero value is a lab with a random name.
type Config struct {
	// Name names the cgroup directory of the lab, at the root of every
	// hierarchy. Default: holdfast-lab- and a random number.
	Name string
	// Dir is where the lab's directory is made. Neither it nor its parents
	// may be /run or /var/lib, which the lab hides. Default: os.TempDir().
	Dir string
	// Containerd is the containerd binary; its own directory is searched for
	// the shim first. Default: containerd from PATH.
	Containerd string
	// NRI has containerd listen for NRI plugins at [Lab.NRISocket], which it
	// does from 1.7 on.
	NRI bool
	// CNIBinDir holds the CNI plugins bridge, host-local and loopback.
	// Default: /usr/lib/cni.
	CNIBinDir string
	// Subnet is the IPv4 network of the pods, at least a /28; its first
	// address is the bridge's, see [Lab.Gateway]. It exists in the lab's
	// network namespace alone. Default: 10.222.0.0/16.
	Subnet netip.Prefix
	// Memory keeps containerd's root, images and writable layers included,
	// and its state on a tmpfs. It is faster, and needs no file system fit for
	// overlayfs.
	Memory bool
	// Crun has pods that ask for the runtime handler [CrunHandler] run by crun,
	// of Debian's package of that name, instead of by runc.
	Crun bool
	// Log receives what the lab does. Default: nothing is logged.
	Log *slog.Logger
}

// subnet6 is the pods' IPv6 network, used where the kernel has IPv6.
const subnet6 = "fd00:6c61:62::/64"

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// withDefaults fills in what was left out and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = dirPrefix + randomHex(4)
	}
	if !namePattern.MatchString(c.Name) {
		return c, fmt.Errorf("lab name %q: want up to 63 of a-z, 0-9 and -", c.Name)
	}
	if c.Dir == "" {
		c.Dir = os.TempDir()
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("lab directory: %w", err)
	}
	c.Dir = dir
	for _, hidden := range hiddenDirs {
		if c.Dir == hidden || strings.HasPrefix(c.Dir, hidden+"/") {
			return c, fmt.Errorf("lab directory %s: the lab hides %s", c.Dir, hidden)
		}
	}
	if c.Containerd == "" {
		c.Containerd = "containerd"
	}
	if c.CNIBinDir == "" {
		c.CNIBinDir = "/usr/lib/cni"
	}
	if !c.Subnet.IsValid() {
		c.Subnet = netip.MustParsePrefix("10.222.0.0/16")
	}
	if !c.Subnet.Addr().Is4() || c.Subnet.Bits() > 28 {
		return c, fmt.Errorf("lab subnet %s: want an IPv4 network of /28 or larger", c.Subnet)
	}
	c.Subnet = c.Subnet.Masked()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// randomHex returns 2n hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, n)
	// crypto/rand.Read never returns an error.
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// ErrNotRoot is returned by [Lab.Start] without root's rights; a test may skip
// on it.
var ErrNotRoot = errors.New("a lab needs root")

// Missing lists the Debian packages that a lab needs and that are not
// installed, in the order in which they were looked for.
func Missing() []string {
	var missing []string
	for _, need := range []struct{ pkg, bin string }{
		{"containerd", "containerd"},
		{"containerd", "ctr"},
		{"runc", "runc"},
		{"containernetworking-plugins", "/usr/lib/cni/bridge"},
		{"busybox-static", "busybox"},
	} {
		if _, err := exec.LookPath(need.bin); err == nil {
			continue
		}
		if len(missing) == 0 || missing[len(missing)-1] != need.pkg {
			missing = append(missing, need.pkg)
		}
	}
	return missing
}

// CrunHandler is the runtime handler of crun, see [Config.Crun].
const CrunHandler = "crun"

// containerdConfig writes the daemon's configuration, in the version 2 format
// that 1.4 to 2.x read. crun is that program's path, or empty.
func containerdConfig(p paths, cniBinDir string, nri bool, crun string) string {
	config := fmt.Sprintf(`version = 2
root = %q
state = %q

[grpc]
  address = %q

[ttrpc]
  address = %q

[plugins."io.containerd.internal.v1.opt"]
  path = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_apparmor = true
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`, p.root(), p.state(), p.socket(), p.socket()+".ttrpc", p.file("opt"), PauseImage, cniBinDir, p.cni())
	if crun != "" {
		config += fmt.Sprintf(`
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.%[1]s]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.%[1]s.options]
        BinaryName = %[2]q
        SystemdCgroup = false
`, CrunHandler, crun)
	}
	return config + fmt.Sprintf(`
[plugins."io.containerd.nri.v1.nri"]
  disable = %t
  disable_connections = false
  socket_path = %q
  plugin_path = %q
  plugin_config_path = %q
`, !nri, p.nri(), p.file("nri-plugins"), p.file("nri-config"))
}

// cniConfig writes the pods' network: one bridge that is also their router,
// addresses kept in the lab's directory.
func cniConfig(p paths, subnets []string) ([]byte, error) {
	type subnet struct {
		Subnet string `json:"subnet"`
	}
	type route struct {
		Dst string `json:"dst"`
	}
	var ranges [][]subnet
	var routes []route
	for _, s := range subnets {
		ranges = append(ranges, []subnet{{s}})
		if strings.Contains(s, ":") {
			routes = append(routes, route{"::/0"})
		} else {
			routes = append(routes, route{"0.0.0.0/0"})
		}
	}
	return json.MarshalIndent(map[string]any{
		"cniVersion": "0.4.0",
		"name":       "lab",
		"plugins": []any{map[string]any{
			"type":      "bridge",
			"bridge":    bridgeName,
			"isGateway": true,
			"ipam": map[string]any{
				"type":    "host-local",
				"dataDir": p.file("ipam"),
				"ranges":  ranges,
				"routes":  routes,
			},
		}},
	}, "", "  ")
}

// paths are the places in a lab's directory.
type paths struct{ dir string }

func (p paths) file(name string) string { return filepath.Join(p.dir, name) }
func (p paths) root() string            { return p.file("root") }
func (p paths) state() string           { return p.file("state") }
func (p paths) cni() string             { return p.file("cni") }
func (p paths) logs() string            { return p.file("logs") }
func (p paths) socket() string          { return p.file("containerd.sock") }
func (p paths) nri() string             { return p.file("nri.sock") }
func (p paths) config() string          { return p.file("containerd.toml") }
func (p paths) containerdLog() string   { return p.file("containerd.log") }
func (p paths) holderLog() string       { return p.file("holder.log") }
func (p paths) spec() string            { return p.file("spec.json") }
func (p paths) lock() string            { return p.file("lock") }
