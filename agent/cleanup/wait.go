// SPDX-License-Identifier: Apache-2.0

package cleanup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
)

// pollInterval is how often the API server is asked. A clean-up takes some seconds.
const pollInterval = 2 * time.Second

// maxNamed bounds the nodes that an error names.
const maxNamed = 10

// Wait blocks until every pod of a DaemonSet is ready, which pods that clean up are when their node is clean. It ends with the
// context, and then its error names the nodes that are not clean and why. What goes wrong on the way is logged, and tried
// again. It talks to the API server as a pod does, by the address in its environment and its ServiceAccount's token.
func Wait(ctx context.Context, namespace, name string, log *slog.Logger) error {
	api, err := inCluster()
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var left string
	for {
		state, err := look(ctx, api, namespace, name)
		if err == nil && state.done() {
			log.Info("every node is clean", "nodes", state.set.Status.Desired)
			return nil
		}
		now := ""
		switch {
		case err == nil:
			now = state.missing()
		case ctx.Err() == nil:
			now = err.Error()
		}
		if now != "" && now != left {
			left = now
			log.Info("waiting", "for", left)
		}
		select {
		case <-ctx.Done():
			if left == "" {
				left = "nothing was heard of the API server"
			}
			return fmt.Errorf("wait until every node is clean: %w: %s", ctx.Err(), left)
		case <-tick.C:
		}
	}
}

// state is what the API server says of a clean-up.
type state struct {
	set  daemonSet
	pods []pod
}

// daemonSet is what is read of a DaemonSet, apps/v1.
type daemonSet struct {
	Metadata struct {
		Generation int64 `json:"generation"`
	} `json:"metadata"`
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64 `json:"observedGeneration"`
		Desired            int   `json:"desiredNumberScheduled"`
		Ready              int   `json:"numberReady"`
		Updated            int   `json:"updatedNumberScheduled"`
	} `json:"status"`
}

// pod is what is read of a Pod, v1.
type pod struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase      string            `json:"phase"`
		Reason     string            `json:"reason"`
		Init       []containerStatus `json:"initContainerStatuses"`
		Containers []containerStatus `json:"containerStatuses"`
		Conditions []condition       `json:"conditions"`
	} `json:"status"`
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

type containerStatus struct {
	State struct {
		Waiting *struct {
			Reason string `json:"reason"`
		} `json:"waiting"`
	} `json:"state"`
}

// look asks for the DaemonSet and, while it is not done, for its pods.
func look(ctx context.Context, api *client, namespace, name string) (state, error) {
	var s state
	if err := api.get(ctx, "/apis/apps/v1/namespaces/"+url.PathEscape(namespace)+"/daemonsets/"+url.PathEscape(name), nil, &s.set); err != nil {
		return s, fmt.Errorf("read DaemonSet %s/%s: %w", namespace, name, err)
	}
	if s.done() {
		return s, nil
	}
	var labels []string
	for label, value := range s.set.Spec.Selector.MatchLabels {
		labels = append(labels, label+"="+value)
	}
	slices.Sort(labels)
	if len(labels) == 0 {
		return s, errors.New("the DaemonSet selects no labels")
	}
	var list struct {
		Items []pod `json:"items"`
	}
	err := api.get(ctx, "/api/v1/namespaces/"+url.PathEscape(namespace)+"/pods", url.Values{"labelSelector": {strings.Join(labels, ",")}}, &list)
	if err != nil {
		return s, fmt.Errorf("list the pods of DaemonSet %s/%s: %w", namespace, name, err)
	}
	s.pods = list.Items
	return s, nil
}

// done reports whether the controller has seen the DaemonSet and every node that is to have a pod has one that is ready. A
// cluster without such a node has nothing to clean.
func (s *state) done() bool {
	status := s.set.Status
	return status.ObservedGeneration > 0 && status.ObservedGeneration >= s.set.Metadata.Generation &&
		status.Updated >= status.Desired && status.Ready >= status.Desired
}

// missing says how far it is, and names nodes that are not clean.
func (s *state) missing() string {
	status := s.set.Status
	if status.ObservedGeneration < s.set.Metadata.Generation || status.ObservedGeneration == 0 {
		return "the DaemonSet has not been looked at by its controller yet"
	}
	var nodes []string
	for i := range s.pods {
		if p := &s.pods[i]; !p.ready() {
			nodes = append(nodes, fmt.Sprintf("%s (pod %s: %s)", p.node(), p.Metadata.Name, p.why()))
		}
	}
	slices.Sort(nodes)
	if more := len(nodes) - maxNamed; more > 0 {
		nodes = append(nodes[:maxNamed], fmt.Sprintf("%d more", more))
	}
	text := fmt.Sprintf("%d of %d nodes are clean", status.Ready, status.Desired)
	if len(nodes) > 0 {
		text += "; not: " + strings.Join(nodes, ", ")
	}
	return text
}

func (p *pod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

func (p *pod) node() string {
	if p.Spec.NodeName == "" {
		return "a node not chosen yet"
	}
	return p.Spec.NodeName
}

// why is the reason why a container waits, or else the pod's own.
func (p *pod) why() string {
	for _, c := range slices.Concat(p.Status.Init, p.Status.Containers) {
		if w := c.State.Waiting; w != nil && w.Reason != "" && w.Reason != "PodInitializing" {
			return w.Reason
		}
	}
	if p.Status.Reason != "" {
		return p.Status.Reason
	}
	return p.Status.Phase
}
