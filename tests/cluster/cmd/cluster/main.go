// SPDX-License-Identifier: Apache-2.0

// Command cluster builds what a Kubernetes cluster consists of and brings one
// up for development:
//
//	cluster build               builds what is not in the cache
//	cluster path PROGRAM        prints where a program is
//	cluster up [--image TAR]    keeps a cluster until it is interrupted
//
// up prints the commands that lead inside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-project/holdfast/tests/cluster/build"
	"github.com/holdfast-project/holdfast/tests/cluster/lab"
	node "github.com/holdfast-project/holdfast/tests/lab"
)

func main() {
	node.RunHolder()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "build":
		return buildAll(ctx)
	case len(args) == 2 && args[0] == "path":
		path, err := build.Path(args[1])
		if err == nil {
			fmt.Println(path)
		}
		return err
	case len(args) > 0 && args[0] == "up":
		return up(ctx, args[1:])
	}
	return errors.New("want one of: build; path PROGRAM; up [--image TAR]")
}

// buildAll builds what is missing and says so.
func buildAll(ctx context.Context) error {
	for _, name := range build.Programs() {
		if _, err := build.Path(name); errors.Is(err, build.ErrNotBuilt) {
			fmt.Printf("building %s, which takes minutes the first time\n", name)
		}
		if _, err := build.Ensure(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// up brings a cluster up with the images of some OCI archives and waits.
func up(ctx context.Context, args []string) error {
	var images []string
	flags := flag.NewFlagSet("cluster up", flag.ContinueOnError)
	flags.Func("image", "OCI archive to import, may be given again", func(path string) error {
		images = append(images, path)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := lab.Start(ctx, lab.Config{Progress: func(step string, after time.Duration) {
		fmt.Printf("%7.2fs  %s\n", after.Seconds(), step)
	}})
	if err != nil {
		return err
	}
	if err := errors.Join(c.Node.Load(ctx, node.Busybox), c.ImportArchives(ctx, images...)); err != nil {
		return errors.Join(err, c.Close())
	}
	kubectl := c.Kubectl(ctx)
	fmt.Printf("\nnsenter --mount=%s --net=%s \\\n  %s\n\n", c.Node.MountNS(), c.Node.NetNS(), strings.Join(kubectl.Args, " "))
	select {
	case <-ctx.Done():
	case <-c.Node.Down():
		fmt.Println("the lab has ended by itself")
	}
	return c.Close()
}
