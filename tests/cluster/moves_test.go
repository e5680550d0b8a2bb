// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// movesManifest has two services and the profile of their client.
//
//go:embed testdata/moves.yaml
var movesManifest string

// clientManifest asks both services, by their addresses, again and again, and
// says what came of it.
const clientManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: moves}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: docker.io/library/busybox:lab
          command:
            - sh
            - -c
            - |
              ask() {
                said=$(printf 'GET / HTTP/1.0\r\n\r\n' 2>/dev/null | nc -w 5 $2 80 2>&1)
                case $said in
                *$1-*) echo $1 answers ;;
                *) echo $1 says $said ;;
                esac
              }
              while :; do
                ask backend %s
                ask other %s
                usleep 20000
              done
`

// testMoves has a client, which may contact one service by name and nobody else,
// ask that service and another one all the time, while the pods of the first are
// replaced. It gets every answer of the one, and none of the other.
func testMoves(t *testing.T, h *holdfast) {
	h.apply(t, movesManifest)
	t.Cleanup(func() { h.deleteNamespace(t, "moves") })
	first := h.awaitPods(t, "app=backend", 2)
	other := h.awaitPods(t, "app=other", 1)
	h.apply(t, fmt.Sprintf(clientManifest, h.clusterIP(t, "backend"), h.clusterIP(t, "other")))
	client := h.awaitRunning(t, "moves", "app=client").Name
	h.await(t, "the client's egress is enforced", func(ctx context.Context) error {
		return h.ask.InMode(ctx, "moves/client", "enforce", profile.SignalEgress)
	})
	_, from := h.outcomes(t, "moves", client, 0)
	h.checkReach(t, client, first, true)
	h.checkReach(t, client, other, false)
	pods := first
	for range 2 {
		h.kubectl(t, "rollout", "restart", "-n", "moves", "deployment/backend")
		h.kubectl(t, "rollout", "status", "-n", "moves", "deployment/backend", "--timeout", patience.String())
		old := pods
		pods = h.awaitPods(t, "app=backend", 2)
		if slices.ContainsFunc(pods, func(p corev1.Pod) bool {
			return slices.ContainsFunc(old, func(q corev1.Pod) bool { return p.Name == q.Name })
		}) {
			t.Error("a pod of the service has stayed")
		}
		// By their own addresses, too, for services that clients resolve to pods.
		h.checkReach(t, client, pods, true)
	}
	h.checkAnswers(t, client, from)
}

// checkAnswers checks what the client has said since.
func (h *holdfast) checkAnswers(t *testing.T, client string, from int) {
	t.Helper()
	counts, _ := h.outcomes(t, "moves", client, from)
	t.Logf("the client: %v", counts)
	answers, refused := 0, 0
	for what, n := range counts {
		switch {
		case what == "backend answers":
			answers += n
		case strings.HasPrefix(what, "other ") && strings.Contains(what, "Operation not permitted"):
			refused += n
		default:
			t.Errorf("%d times %q", n, what)
		}
	}
	if answers < 100 || refused < 100 {
		t.Errorf("%d answers of the service that is listed, %d refusals of the other: too few to tell", answers, refused)
	}
}

// checkReach has the client contact pods by their addresses, in a process of its
// own, which is judged as all of the container are.
func (h *holdfast) checkReach(t *testing.T, client string, pods []corev1.Pod, want bool) {
	t.Helper()
	for _, p := range pods {
		// Told to the agent a moment after it was told to the test.
		h.await(t, fmt.Sprintf("the client reaches %s: %t", p.Name, want), func(ctx context.Context) error {
			said, err := h.Exec(ctx, "moves", client, "main",
				"sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 `+p.Status.PodIP+" 8080 2>&1 || true")
			if err != nil {
				return err
			}
			if want && !strings.Contains(said, p.Name) || !want && !strings.Contains(said, "Operation not permitted") {
				return fmt.Errorf("it says %q", said)
			}
			return nil
		})
	}
}

// clusterIP is the address of a service in the namespace moves.
func (h *holdfast) clusterIP(t *testing.T, service string) string {
	t.Helper()
	s, err := h.Client.CoreV1().Services("moves").Get(t.Context(), service, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Spec.ClusterIP
}

// awaitPods waits until so many pods in the namespace moves are ready and no
// others are left that are not about to end.
func (h *holdfast) awaitPods(t *testing.T, selector string, n int) []corev1.Pod {
	t.Helper()
	var found []corev1.Pod
	h.await(t, fmt.Sprintf("%d pods of %s are ready", n, selector), func(ctx context.Context) error {
		pods, err := h.Client.CoreV1().Pods("moves").List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
		if len(found) != n || !podReady(&found[0]) || !podReady(&found[len(found)-1]) {
			return errors.New("they are not")
		}
		return nil
	})
	return found
}
