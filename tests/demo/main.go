// SPDX-License-Identifier: Apache-2.0

// Demo shows the main job of Holdfast on real containers, in a minute: it starts containerd in namespaces of its own, a
// collector, an agent, and a web service as two pods. One is watched and no more: it is broken into, and the alerts are
// shown as the holdfast command prints them. Of the other it is learned what it does, while customers use it; then it is
// kept to that, and attacked: each deed is blocked, and the customers notice nothing. When the demo ends, by itself or by
// Ctrl-C, nothing is left. With --keep it goes on until Ctrl-C and says how to look around.
//
// It expects the programs in the directory that --bin names; make demo builds them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
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
	// client reaches the pods.
	client *http.Client
	// stage is the web service that is watched, shop the one that is kept to its profile; both are up since.
	stage, shop *lab.Container
	up          time.Time
	customers   *customers
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
	d.client = &http.Client{Transport: &http.Transport{DialContext: d.rig.Lab.DialContext}, Timeout: 20 * time.Second}
	defer d.client.CloseIdleConnections()
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	for _, scene := range []func(context.Context) error{
		d.rig.StartCollector, d.rig.StartAgent, d.openShops, d.settle, d.watch, d.learn, d.enforce, d.attack, d.explain, d.node,
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
	for _, program := range []string{"holdfast-agent", "holdfast-collector", "holdfast", "demo/webshop", "demo/render", "demo/deeds"} {
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

// Where things are in the web service's image and volumes.
const (
	uploads = "/srv/uploads"
	linker  = "/lib64/ld-linux-x86-64.so.2"
)

// openShops runs the web service as pods of two Deployments, each with a service-account token as every pod has one, and
// with a folder into which customers have uploaded things.
func (d *demo) openShops(ctx context.Context) error {
	d.progress("building an image with a small web service and running it as pods shop/stage-… and shop/web-…")
	image, err := d.image()
	if err != nil {
		return err
	}
	if err := d.rig.Lab.Import(ctx, image); err != nil {
		return err
	}
	mounts, err := d.volumes()
	if err != nil {
		return err
	}
	if err := serveOutside(ctx, d.rig.Lab, filepath.Join(d.bin, "demo/deeds")); err != nil {
		return err
	}
	if d.stage, err = d.open(ctx, image, mounts, "stage", "7f9c8d6b5-q4k8m"); err != nil {
		return err
	}
	if d.shop, err = d.open(ctx, image, mounts, "web", "6d4cf56db6-x7x2p"); err != nil {
		return err
	}
	d.up = time.Now()
	d.customers = &customers{client: d.client, shop: address(d.shop)}
	go d.customers.visit(ctx)
	return nil
}

// image is the web service's. It has a dynamic linker, as most images do, though nothing in it needs one.
func (d *demo) image() (lab.Image, error) {
	real, err := filepath.EvalSymlinks(linker)
	if err != nil {
		return lab.Image{}, fmt.Errorf("this machine's dynamic linker: %w", err)
	}
	return lab.NewImage("docker.io/acme/webshop:1.4", []lab.File{
		{Path: "/usr/bin/webshop", Mode: 0o755, Source: filepath.Join(d.bin, "demo/webshop")},
		{Path: "/usr/bin/render", Mode: 0o755, Source: filepath.Join(d.bin, "demo/render")},
		{Path: "/usr" + linker, Mode: 0o755, Source: real},
		{Path: "/var/lib/shop", Mode: fs.ModeDir | 0o755},
	}, "/usr/bin/webshop")
}

// volumes makes what is mounted into the web service.
func (d *demo) volumes() ([]lab.Mount, error) {
	made := map[string]string{}
	for _, name := range []string{"serviceaccount", "uploads"} {
		made[name] = filepath.Join(d.rig.Dir, name)
		if err := os.Mkdir(made[name], 0o755); err != nil {
			return nil, err
		}
	}
	program, err := os.ReadFile(filepath.Join(d.bin, "demo/render"))
	if err != nil {
		return nil, err
	}
	resolver := filepath.Join(d.rig.Dir, "resolv.conf")
	err = errors.Join(
		os.WriteFile(filepath.Join(made["serviceaccount"], "token"), []byte(token+"\n"), 0o600),
		os.WriteFile(filepath.Join(made["uploads"], "x"), program, 0o755),
		os.WriteFile(resolver, []byte("nameserver "+resolverAddress+"\n"), 0o644),
	)
	return []lab.Mount{
		{HostPath: made["serviceaccount"], ContainerPath: secrets, ReadOnly: true},
		{HostPath: made["uploads"], ContainerPath: uploads},
		{HostPath: resolver, ContainerPath: "/etc/resolv.conf", ReadOnly: true},
	}, err
}

// token is what a service-account token looks like, from afar.
const token = "not.a.token"

// open runs the web service as a pod of a Deployment.
func (d *demo) open(ctx context.Context, image lab.Image, mounts []lab.Mount, deployment, suffix string) (*lab.Container, error) {
	hash, _, _ := strings.Cut(suffix, "-")
	pod, err := d.rig.Lab.RunPod(ctx, lab.PodConfig{
		Namespace: "shop", Name: deployment + "-" + suffix, Labels: map[string]string{"app": deployment, "pod-template-hash": hash},
	})
	if err != nil {
		return nil, err
	}
	c, err := pod.Run(ctx, lab.ContainerConfig{
		Name: "webshop", Image: image.Name, Mounts: mounts, Env: map[string]string{"BANK": bankName + ":443"},
	})
	if err != nil {
		return nil, err
	}
	return c, pod.AwaitPort(ctx, shopPort)
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
