// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/demo"
	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const demoHelp = `Show on a small service, made for this, what Holdfast does in your cluster. It takes about two minutes:

  1. A namespace is made with a service in it, which takes orders, and with those whom it speaks to.
  2. Customers order, and it is learned what the service does.
  3. Its mode is set to monitor, or with --enforce to enforce: for these pods alone.
  4. More is ordered, of which nothing should be reported. Then it is attacked: the service has a mistake, by which
     a customer can give its shell commands.
  5. What was seen is shown: what would be blocked, or was.
  6. The namespace, the mode and the profile are removed, also after Ctrl-C. The alerts stay in the collector's list.

The attack runs programs of the image in the demo's own pod and speaks to the demo's own pods, to nobody else. The pods are
not root and have no rights; they run where an agent does. A second Ctrl-C ends this at once and leaves everything as it is:
then 'kubectl delete namespace' the one that was named; the mode ends by itself within the hour.

It needs an admin's token of the collector, and in the cluster the rights to make and remove a namespace, services and
deployments in it, and to attach to and exec in their pods. What is missing is said before anything is made. The cluster is
found as kubectl finds it: --kubeconfig, KUBECONFIG, ~/.kube/config, or the pod's service account.`

const demoExamples = `  holdfast demo --kubernetes
  holdfast demo --kubernetes --enforce                     # also stop the attack
  holdfast demo --kubernetes --keep                        # leave it until Ctrl-C, to look around
  holdfast demo --kubernetes --image registry.example/mirror/busybox:1.37
  holdfast demo --kubernetes -o json | jq -c '{what, rules: [.alerts[].rule]}'`

// demoImage is what the pods of a demo run, unless somebody says otherwise.
const demoImage = "docker.io/library/busybox:1.37"

// demoFlags are the flags of the demo.
type demoFlags struct {
	kubernetes, enforce, keep                     bool
	kubeconfig, kubecontext, namespace, image, on string
	learn                                         time.Duration
}

func newDemo(a *app) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:     "demo --kubernetes",
		Short:   "Learn, watch and attack a sample workload in your cluster, and show what was seen",
		Long:    demoHelp,
		Example: demoExamples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !f.kubernetes:
				return usageError(cmd, errors.New("say --kubernetes; on a host without Kubernetes 'sudo make demo' in the source tree shows the same"))
			case f.learn < minLearn || f.learn > maxLearn:
				return usageError(cmd, fmt.Errorf("--learn %s is not between %s and %s", f.learn, minLearn, maxLearn))
			}
			return a.demo(cmd.Context(), f)
		},
	}
	set := cmd.Flags()
	set.BoolVar(&f.kubernetes, "kubernetes", false, "in a Kubernetes cluster (required)")
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "`FILE` with the cluster's address and your credentials")
	set.StringVar(&f.kubecontext, "context", "", "`CONTEXT` of that file (default its current one)")
	set.StringVarP(&f.namespace, "namespace", "n", "", "`NAMESPACE` to make and remove; it must not be there (default holdfast-demo- and something random)")
	set.StringVar(&f.image, "image", demoImage, "`IMAGE` that the cluster can pull, or has: a busybox with its programs in /bin")
	set.StringVar(&f.on, "node", "", "run on this `NODE` (default any that has an agent)")
	set.DurationVar(&f.learn, "learn", 30*time.Second, "how long customers order before what they see counts as all, such as 30s or 2m")
	set.BoolVar(&f.enforce, "enforce", false, "stop the attack, too, and not only report it")
	set.BoolVar(&f.keep, "keep", false, "leave everything as it is until Ctrl-C")
	return cmd
}

// The bounds of --learn. Programs of a container's first ten seconds count as its start.
const (
	minLearn = 10 * time.Second
	maxLearn = time.Hour
)

// showing is one run of the demo.
type showing struct {
	*session
	flags   demoFlags
	began   time.Time
	cluster *demo.Cluster
	shop    *demo.Shop
	// nodes are those with an agent that is connected.
	nodes []string
	// modes are the ids of the settings that were made and hold.
	modes []uint64
	// told are the alerts that were seen.
	told map[string]bool
	// customer counts the orders of customers.
	customer int
}

// pattern is whose mode is set, of all patterns the narrowest that has the container for uploads in it, too.
func (d *showing) pattern() string { return d.flags.namespace + "/" + demo.Workload }

// progress says what is being done, and when.
func (d *showing) progress(format string, args ...any) {
	fmt.Fprintf(d.env.Stderr, "%5.1f s  %s\n", d.env.Now().Sub(d.began).Seconds(), term.Escape(fmt.Sprintf(format, args...)))
}

func (a *app) demo(ctx context.Context, f demoFlags) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	if f.namespace == "" {
		var random [4]byte
		if _, err := rand.Read(random[:]); err != nil {
			return fmt.Errorf("a random name: %w", err)
		}
		f.namespace = "holdfast-demo-" + hex.EncodeToString(random[:])
	}
	d := &showing{session: s, flags: f, began: s.env.Now(), told: map[string]bool{}}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	err = d.play(ctx)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	d.progress("removing namespace %s, its mode and its profiles", f.namespace)
	if leftBehind := d.remove(context.WithoutCancel(ctx)); leftBehind != nil {
		return advise(ExitFailure, errors.Join(err, leftBehind), "Remove what is left:\n\n  kubectl delete namespace %s\n  holdfast mode clear %s --reason demo",
			term.Escape(f.namespace), term.Escape(d.pattern()))
	}
	d.progress("nothing is left but the alerts")
	return err
}

// prepare finds out whether the demo can be shown, before anything is made.
func (d *showing) prepare(ctx context.Context) error {
	var err error
	if d.nodes, err = d.watched(ctx); err != nil {
		return err
	}
	if d.cluster, err = demo.Connect(d.flags.kubeconfig, d.flags.kubecontext); err != nil {
		return advise(ExitUsage, err, "%s", "Say which cluster with --kubeconfig FILE, KUBECONFIG or ~/.kube/config, as for kubectl.")
	}
	missing, err := d.cluster.Missing(ctx, d.flags.namespace)
	if err != nil {
		return advise(ExitUnreachable, err, "%s", "Is it the right cluster, and does kubectl reach it with the same file? See --kubeconfig and --context.")
	}
	if len(missing) > 0 {
		lines := make([]string, 0, len(missing))
		for _, right := range missing {
			lines = append(lines, "  "+right.String())
		}
		return advise(ExitRefused, fmt.Errorf("the API server %s does not allow you what the demo needs; nothing was made", d.cluster.Address()),
			"These rights are missing:\n\n%s", strings.Join(lines, "\n"))
	}
	return nil
}

// watched are the nodes that a demo can run on.
func (d *showing) watched(ctx context.Context) ([]string, error) {
	objects, _, err := d.session.nodes(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, object := range objects {
		var n view.Node
		if err := json.Unmarshal(object, &n); err != nil {
			return nil, d.strange(fmt.Errorf("node: %w", err))
		}
		if n.Connected && (d.flags.on == "" || d.flags.on == n.Node) {
			names = append(names, n.Node)
		}
	}
	switch {
	case len(names) > 0:
		return names, nil
	case d.flags.on != "":
		return nil, advise(ExitNotFound, fmt.Errorf("no agent of a node %q is connected to the collector", d.flags.on), "%s",
			"'holdfast nodes' lists the nodes.")
	}
	return nil, advise(ExitFailure, errors.New("no node runs an agent that is connected to this collector"), "%s",
		"'holdfast nodes' lists those that ever were, 'holdfast nodes refused' who was turned away. In the cluster:\n\n"+
			"  kubectl -n holdfast-system get pods -o wide\n  kubectl -n holdfast-system logs daemonset/holdfast-agent")
}

// play shows everything.
func (d *showing) play(ctx context.Context) error {
	d.shop = d.cluster.NewShop(demo.Config{
		Namespace: d.flags.namespace, Image: d.flags.image, Nodes: d.nodes, Progress: func(step string) { d.progress("%s", step) },
	})
	// The mode first: it needs an admin, and then there is nothing to remove.
	if err := d.setMode(ctx, profile.ModeLearn); err != nil {
		return err
	}
	if err := d.shop.Open(ctx); err != nil {
		return advise(ExitFailure, err, "An image that the cluster can pull, or has, is named with --image. Pods are kept to nodes with an agent: %s.",
			term.Escape(strings.Join(d.nodes[:min(len(d.nodes), maxListed)], ", ")))
	}
	d.progress("pod %s runs on node %s", d.shop.Pod(), d.shop.Node())
	if err := d.awaitMode(ctx, profile.ModeLearn); err != nil {
		return err
	}
	if err := d.learn(ctx); err != nil {
		return err
	}
	mode := profile.ModeMonitor
	if d.flags.enforce {
		mode = profile.ModeEnforce
	}
	if err := errors.Join(d.setMode(ctx, mode), d.awaitMode(ctx, mode)); err != nil {
		return err
	}
	if err := d.ordinary(ctx); err != nil {
		return err
	}
	seen, err := d.attack(ctx)
	if err != nil {
		return err
	}
	if err := d.show(seen); err != nil {
		return err
	}
	if d.flags.keep {
		d.stay(ctx)
	}
	if missed := slices.ContainsFunc(seen, func(s deedSeen) bool { return len(s.Alerts) == 0 }); missed {
		return advise(ExitFailure, errors.New("of some steps nothing was seen"), "%s",
			"'holdfast nodes show "+shellWord(d.shop.Node())+"' says what the node's kernel lets the agent see, and what was lost.")
	}
	return nil
}
