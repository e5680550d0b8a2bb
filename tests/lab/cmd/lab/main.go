// SPDX-License-Identifier: Apache-2.0

// Command lab brings up a container node for development and keeps it until
// it is interrupted:
//
//	lab up [--name NAME] [--dir DIR] [--memory] [--images busybox,nginx,…]
//
// It prints where containerd's socket, the cgroups and the namespaces are, and
// the commands that lead inside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/holdfast-project/holdfast/tests/lab"
)

func main() {
	lab.RunHolder()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// images are what --images can name.
func images() map[string]func() (lab.Image, error) {
	return map[string]func() (lab.Image, error){
		"busybox":  lab.Busybox,
		"nginx":    lab.Nginx,
		"redis":    lab.Redis,
		"postgres": lab.Postgres,
		"python":   lab.Python,
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("lab up", flag.ContinueOnError)
	var cfg lab.Config
	flags.StringVar(&cfg.Name, "name", "", "name of the lab and its cgroup (default: a random one)")
	flags.StringVar(&cfg.Dir, "dir", "", "where the lab's directory is made (default: the temporary directory)")
	flags.BoolVar(&cfg.Memory, "memory", false, "keep images and containers in memory")
	names := flags.String("images", "busybox", "images to import: busybox, nginx, redis, postgres, python")
	if len(args) == 0 || args[0] != "up" {
		flags.Usage()
		return errors.New("want the command up")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var load []func() (lab.Image, error)
	for name := range strings.SplitSeq(*names, ",") {
		image, ok := images()[name]
		if !ok {
			return fmt.Errorf("unknown image %q", name)
		}
		load = append(load, image)
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	return up(ctx, cfg, load)
}

// up keeps a lab until ctx ends.
func up(ctx context.Context, cfg lab.Config, load []func() (lab.Image, error)) (err error) {
	l, err := lab.New(cfg)
	if err != nil {
		return err
	}
	if err := l.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Load(ctx, load...); err != nil {
		return err
	}
	fmt.Printf("socket        %s\n", l.Socket())
	fmt.Printf("cgroup        %s\n", l.CgroupDir())
	fmt.Printf("network       %s\n", l.NetNS())
	fmt.Printf("mounts        %s\n", l.MountNS())
	fmt.Printf("gateway       %s\n", l.Gateway())
	fmt.Printf("go inside     nsenter -t %d -m -n\n", l.HolderPID())
	fmt.Printf("containerd    ctr -a %s -n k8s.io containers list\n", l.Socket())
	fmt.Println("Ctrl-C ends it.")
	select {
	case <-ctx.Done():
		return nil
	case <-l.Down():
		return errors.New("containerd ended by itself")
	}
}
