// SPDX-License-Identifier: Apache-2.0

// Demo shows the main job of Holdfast on real containers, in a minute: it starts containerd in namespaces of its own, a
// web service as a pod, a collector and an agent; breaks into the web service; and prints the alerts as the holdfast
// command shows them. When it ends, by itself or by Ctrl-C, nothing is left. With --keep it goes on until Ctrl-C and says
// how to look around.
//
// It expects the programs in the directory that --bin names; make demo builds them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

func main() {
	lab.RunHolder()
	var d demo
	flag.StringVar(&d.bin, "bin", "bin", "`DIR` with the programs, and demo/ in it with the web service and the attacker's tool")
	flag.BoolVar(&d.keep, "keep", false, "leave it running until Ctrl-C, to try things")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := d.run(ctx)
	stop()
	if errors.Is(err, context.Canceled) {
		fmt.Println("Interrupted; nothing was left behind.")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one showing.
type demo struct {
	bin   string
	keep  bool
	began time.Time
	rig   *rig.Rig
	// shop is the web service's container, up since.
	shop *lab.Container
	up   time.Time
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := d.check(); err != nil {
		return err
	}
	d.began = time.Now()
	d.rig, err = rig.New(ctx, rig.Config{Bin: d.bin, Lab: lab.Config{Memory: true}, Progress: d.progress})
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() {
		d.progress("removing everything")
		closeErr := d.rig.Close()
		if closeErr != nil && errors.Is(err, context.Canceled) {
			// What was left behind must not pass for an orderly end.
			err = nil
		}
		err = errors.Join(err, closeErr)
	}()
	for _, scene := range []func(context.Context) error{
		d.openShop, d.rig.StartCollector, d.rig.StartAgent, d.settle, d.attack, d.show,
	} {
		if err := scene(ctx); err != nil {
			return interrupted(ctx, err)
		}
	}
	if !d.keep {
		return nil
	}
	return d.stay(ctx)
}

// interrupted keeps what went wrong because of Ctrl-C from being reported as a failure.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// check says what is missing before anything is started.
func (d *demo) check() error {
	if os.Getuid() != 0 {
		return errors.New("containers and BPF programs need root: run sudo make demo")
	}
	if missing := lab.Missing(); len(missing) > 0 {
		return fmt.Errorf("missing Debian packages, which make demo would install: apt-get install %s", strings.Join(missing, " "))
	}
	for _, program := range []string{"holdfast-agent", "holdfast-collector", "holdfast", "demo/webshop", "demo/deeds"} {
		if _, err := os.Stat(filepath.Join(d.bin, program)); err != nil {
			return fmt.Errorf("%w: make demo builds it", err)
		}
	}
	return nil
}

// progress says what is being done, and when.
func (d *demo) progress(step string) {
	fmt.Printf("%5.1f s  %s\n", time.Since(d.began).Seconds(), step)
}

func heading(text string) { fmt.Printf("\n── %s\n\n", text) }

// openShop runs the web service as a pod of a Deployment, with a service-account token as every pod has one.
func (d *demo) openShop(ctx context.Context) error {
	d.progress("building an image with a small web service and running it as pod shop/web-6d4cf56db6-x7x2p")
	files := []lab.File{{Path: "/usr/bin/webshop", Mode: 0o755, Source: filepath.Join(d.bin, "demo/webshop")}}
	image, err := lab.NewImage("docker.io/acme/webshop:1.4", files, "/usr/bin/webshop")
	if err != nil {
		return err
	}
	if err := d.rig.Lab.Import(ctx, image); err != nil {
		return err
	}
	tokens := filepath.Join(d.rig.Dir, "serviceaccount")
	if err := os.Mkdir(tokens, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tokens, "token"), []byte("not.a.token\n"), 0o600); err != nil {
		return err
	}
	pod, err := d.rig.Lab.RunPod(ctx, lab.PodConfig{
		Namespace: "shop", Name: "web-6d4cf56db6-x7x2p", Labels: map[string]string{"app": "web", "pod-template-hash": "6d4cf56db6"},
	})
	if err != nil {
		return err
	}
	d.shop, err = pod.Run(ctx, lab.ContainerConfig{
		Name: "webshop", Image: image.Name, Mounts: []lab.Mount{{HostPath: tokens, ContainerPath: secrets, ReadOnly: true}},
	})
	if err != nil {
		return err
	}
	d.up = time.Now()
	if err := pod.AwaitPort(ctx, shopPort); err != nil {
		return err
	}
	return serveOutside(ctx, d.rig.Lab, filepath.Join(d.bin, "demo/deeds"))
}

// settle waits until the web service is past its start, in which programs still count as part of it.
func (d *demo) settle(ctx context.Context) error {
	const start = 11 * time.Second
	wait := time.Until(d.up.Add(start))
	if wait <= 0 {
		return nil
	}
	d.progress(fmt.Sprintf("letting the web service finish its first %s, like any that has been running for a while", start))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}
