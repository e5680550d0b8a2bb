// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// Right is something that the demo has to be allowed to do.
type Right struct {
	Verb, Group, Resource, Subresource string
	// Cluster says that it is about the whole cluster, and not about the demo's namespace.
	Cluster bool
}

// String is the right as people write it, such as create pods/exec.
func (r Right) String() string {
	text := r.Verb + " " + r.Resource
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	if r.Group != "" {
		text += " of " + r.Group
	}
	return text
}

// Rights are what whoever runs the demo has to be allowed to do.
func Rights() []Right {
	return []Right{
		{Verb: "create", Resource: "namespaces", Cluster: true},
		{Verb: "get", Resource: "namespaces", Cluster: true},
		{Verb: "delete", Resource: "namespaces", Cluster: true},
		{Verb: "create", Resource: "services"},
		{Verb: "create", Group: "apps", Resource: "deployments"},
		{Verb: "get", Group: "apps", Resource: "deployments"},
		{Verb: "list", Resource: "pods"},
		// Streams are asked for with the method GET, and newer API servers want both verbs.
		{Verb: "get", Resource: "pods", Subresource: "attach"},
		{Verb: "create", Resource: "pods", Subresource: "attach"},
		{Verb: "get", Resource: "pods", Subresource: "exec"},
		{Verb: "create", Resource: "pods", Subresource: "exec"},
	}
}

// Missing asks the API server which of the Rights are missing, for a demo in a namespace. It is the first thing that is asked of
// the cluster: an error says that it cannot be reached, or does not know who asks.
func (c *Cluster) Missing(ctx context.Context, namespace string) ([]Right, error) {
	ctx = quiet(ctx)
	var missing []Right
	for _, right := range Rights() {
		about := &authorizationv1.ResourceAttributes{
			Verb: right.Verb, Group: right.Group, Resource: right.Resource, Subresource: right.Subresource,
		}
		if !right.Cluster {
			about.Namespace = namespace
		}
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: about}}
		var answer authorizationv1.SelfSubjectAccessReview
		err := c.authorization.Post().Resource("selfsubjectaccessreviews").Body(review).Timeout(requestTimeout).Do(ctx).Into(&answer)
		if err != nil {
			return nil, fmt.Errorf("ask the API server %s whether this is allowed: %s: %w", c.Address(), right, err)
		}
		if !answer.Status.Allowed {
			missing = append(missing, right)
		}
	}
	return missing, nil
}
