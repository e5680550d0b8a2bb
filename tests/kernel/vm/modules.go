// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Modules returns the names of the kernel modules that the machine carries,
// without those that they depend on. A kernel that lacks one, or has it built in,
// is no error. Loaded modules are loaded before the tests start; the others are
// loaded by the kernel when a test uses them.
func Modules() (loaded, available []string) {
	loaded = []string{
		"virtio_pci", "virtio_blk", "ext4", "overlay", "loop", "veth", "dummy", "tun",
	}
	available = []string{
		"bridge", "macvlan", "ipvlan", "vxlan",
		"sch_ingress", "sch_clsact", "cls_bpf", "act_bpf",
		"vsock", "vsock_loopback", "vmw_vsock_virtio_transport",
		"af_alg", "algif_hash", "algif_skcipher", "algif_aead", "algif_rng",
		"af_packet", "af_packet_diag", "unix_diag", "inet_diag", "tcp_diag", "udp_diag", "raw_diag", "netlink_diag",
		"sctp", "tls", "tipc", "binfmt_misc", "fuse", "squashfs", "xfs", "btrfs", "vfat", "isofs",
		"nf_tables", "nft_compat", "nft_ct", "nft_nat", "nft_masq", "nft_chain_nat",
		"ip_tables", "iptable_nat", "iptable_filter", "xt_MASQUERADE", "xt_comment", "xt_conntrack",
	}
	return loaded, available
}

// stageModules copies the wanted modules of a kernel and what they depend on from
// tree to stage/lib/modules/RELEASE, uncompressed, and writes the files that
// modprobe reads. It returns the names of the loaded ones that are modules there.
func stageModules(ctx context.Context, tree, stage, release string) ([]string, error) {
	source := filepath.Join(tree, "lib/modules", release)
	target := filepath.Join(stage, "lib/modules", release)
	if err := run(ctx, "depmod", "-b", tree, release); err != nil {
		return nil, fmt.Errorf("index the modules of %s: %w", release, err)
	}
	deps, err := readDeps(filepath.Join(source, "modules.dep"))
	if err != nil {
		return nil, err
	}
	loaded, available := Modules()
	var present []string
	for i, name := range append(loaded, available...) {
		files, ok := deps[name]
		if !ok {
			continue
		}
		if i < len(loaded) {
			present = append(present, name)
		}
		for _, file := range files {
			if err := stageModule(ctx, source, target, file); err != nil {
				return nil, err
			}
		}
	}
	// depmod works without these; 7.x has not all of them.
	for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		err := copyFile(filepath.Join(source, name), filepath.Join(target, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("stage modules of %s: %w", release, err)
		}
	}
	if err := run(ctx, "depmod", "-b", stage, release); err != nil {
		return nil, fmt.Errorf("index the staged modules of %s: %w", release, err)
	}
	return present, removeBinaryIndexes(target)
}

// readDeps reads a modules.dep file: for each module's name, its file and those it
// depends on, relative to the folder of the release.
func readDeps(path string) (map[string][]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module dependencies: %w", err)
	}
	defer file.Close()
	deps := make(map[string][]string)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		module, needs, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("read module dependencies: %s: no colon in %q", path, lines.Text())
		}
		deps[moduleName(module)] = append([]string{module}, strings.Fields(needs)...)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read module dependencies: %s: %w", path, err)
	}
	return deps, nil
}

// moduleName is the name by which the kernel knows a module file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// stageModule writes one module uncompressed. Busybox's modprobe and the guest's
// kernels do not agree on compression formats, and under emulation it costs time.
func stageModule(ctx context.Context, source, target, file string) error {
	plain, compression, _ := strings.Cut(file, ".ko")
	to := filepath.Join(target, plain+".ko")
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	from := filepath.Join(source, file)
	tool := ""
	switch compression {
	case "":
		return copyFile(from, to)
	case ".xz":
		tool = "xz"
	case ".zst":
		tool = "zstd"
	case ".gz":
		tool = "gzip"
	default:
		return fmt.Errorf("module %s: compression %q not known", file, compression)
	}
	content, err := output(ctx, tool, "-dc", from)
	if err != nil {
		return fmt.Errorf("uncompress module %s: %w", file, err)
	}
	return writeFile(to, []byte(content), 0o644)
}

// removeBinaryIndexes removes the indexes that only kmod reads; busybox uses the
// text files.
func removeBinaryIndexes(folder string) error {
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".bin") {
			return os.Remove(path)
		}
		return err
	})
}
