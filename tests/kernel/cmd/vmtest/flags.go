// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/tests/kernel/vm"
)

// options are the parsed command line.
type options struct {
	kernels  []vm.Kernel
	lsms     []vm.LSM
	packages []string
	run      string
	tags     []string
	builds   []vm.Command
	files    []vm.File
	env      []string
	cache    string
	logs     string
	refresh  bool
	quiet    bool
	count    bool
	parallel int
	boot     time.Duration
	timeout  time.Duration
	command  []string // binary and arguments
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// parse parses the command line. Mistakes are reported all at once.
func parse(args []string) (options, error) {
	var opts options
	var kernels, lsm, tags string
	var packages, builds, files, env list
	set := flag.NewFlagSet("vmtest", flag.ContinueOnError)
	set.StringVar(&kernels, "kernels", "5.10,6.1,6.12,7", "kernels to run on, comma-separated")
	set.StringVar(&lsm, "lsm", "both", "boot with BPF among the security modules (bpf), without (nobpf), or each kernel twice (both)")
	set.Var(&packages, "pkg", "Go package whose tests to run; may be repeated, and may be a pattern")
	set.StringVar(&opts.run, "run", "", "run only the tests that match this regular expression")
	set.StringVar(&tags, "tags", "", "build tags for --pkg and --build beside \""+vm.Tag+"\", comma-separated")
	set.Var(&builds, "build", "`[GOARCH/]PKG:DST`: build a Go program and place it in the machine; may be repeated")
	set.Var(&files, "file", "`SRC:DST`: place a file or folder in the machine; may be repeated")
	set.Var(&env, "env", "`KEY=VALUE` for the programs in the machine; may be repeated")
	set.StringVar(&opts.cache, "cache", "", "folder that keeps kernels (default $"+vm.CacheVariable+"/kernels, or else .cache/kernels beside go.mod)")
	set.StringVar(&opts.logs, "logs", "", "folder to write each machine's console and output to")
	set.BoolVar(&opts.refresh, "refresh", false, "fetch the newest releases of the kernels even if some are kept")
	set.BoolVar(&opts.quiet, "quiet", false, "print no output of tests as they run; that of failed tests comes with the tables")
	set.BoolVar(&opts.count, "count", false, "one processor whose clock counts instructions: for tests that measure")
	set.IntVar(&opts.parallel, "parallel", 2, "machines that run at once")
	set.DurationVar(&opts.boot, "boot-timeout", 2*time.Minute, "time until the first program runs")
	set.DurationVar(&opts.timeout, "timeout", 10*time.Minute, "time for one machine altogether")
	set.Usage = func() {
		fmt.Fprint(set.Output(), "usage: vmtest [flags] --pkg PKG\n       vmtest [flags] -- BINARY [ARG...]\n")
		set.PrintDefaults()
	}
	if err := set.Parse(args); err != nil {
		return options{}, err
	}
	opts.packages, opts.env, opts.command = packages, env, set.Args()
	if tags != "" {
		opts.tags = strings.Split(tags, ",")
	}
	var errs [6]error
	opts.kernels, errs[0] = vm.ParseKernels(kernels)
	opts.lsms, errs[1] = vm.ParseLSM(lsm)
	opts.files, errs[2] = parseFiles(files)
	errs[3] = opts.check()
	if opts.cache == "" {
		opts.cache, errs[4] = vm.DefaultCache()
	}
	opts.builds, errs[5] = parseBuilds(builds)
	return opts, errors.Join(errs[:]...)
}

// check finds options that contradict each other.
func (o options) check() error {
	var errs []error
	if (len(o.packages) == 0) == (len(o.command) == 0) {
		errs = append(errs, errors.New("give either --pkg or a binary after --"))
	}
	if len(o.packages) == 0 && o.run != "" {
		errs = append(errs, errors.New("--run works with --pkg only; give -test.run to the binary"))
	}
	if o.parallel < 1 {
		errs = append(errs, fmt.Errorf("--parallel %d: at least 1", o.parallel))
	}
	if o.boot <= 0 || o.timeout <= 2*vm.TestMargin {
		errs = append(errs, fmt.Errorf("--timeout %v, --boot-timeout %v: too short", o.timeout, o.boot))
	}
	for _, variable := range o.env {
		if !assignment.MatchString(variable) {
			errs = append(errs, fmt.Errorf("--env %q: not KEY=VALUE", variable))
		}
	}
	return errors.Join(errs...)
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

func parseFiles(pairs []string) ([]vm.File, error) {
	var files []vm.File
	for _, pair := range pairs {
		from, to, ok := strings.Cut(pair, ":")
		if !ok || from == "" || !filepath.IsAbs(to) {
			return nil, fmt.Errorf("--file %q: not SRC:DST with an absolute DST", pair)
		}
		files = append(files, vm.File{From: from, To: to})
	}
	return files, nil
}

// parseBuilds parses [GOARCH/]PKG:DST. Only the two architectures that the machine
// can run are taken for one: "386/./x" is the package ./x for 386.
func parseBuilds(texts []string) ([]vm.Command, error) {
	var commands []vm.Command
	for _, text := range texts {
		pkg, to, ok := strings.Cut(text, ":")
		if !ok || pkg == "" || !filepath.IsAbs(to) {
			return nil, fmt.Errorf("--build %q: not [GOARCH/]PKG:DST with an absolute DST", text)
		}
		command := vm.Command{Package: pkg, Arch: "amd64", To: to}
		for _, arch := range []string{"amd64", "386"} {
			if rest, ok := strings.CutPrefix(pkg, arch+"/"); ok {
				command.Package, command.Arch = rest, arch
			}
		}
		commands = append(commands, command)
	}
	return commands, nil
}
