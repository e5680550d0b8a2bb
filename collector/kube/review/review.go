// SPDX-License-Identifier: Apache-2.0

// Package review asks the Kubernetes API server whose a ServiceAccount token is, by the TokenReview API, for the authority
// that lets nodes enrol with one. It decides on nothing but the API server's answer: what it reads of the token itself only
// refuses early what the API server would refuse, so that tokens that are not the collector's business are passed on to
// nobody. It starts no goroutine, keeps no token and caches no answer; all methods may be called concurrently.
package review

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/holdfast-project/holdfast/collector/authority"
)

// Config says which tokens are taken.
type Config struct {
	// API is how to reach the API server. Its user needs to be allowed to create tokenreviews.authentication.k8s.io.
	API *rest.Config
	// Account is the ServiceAccount whose tokens are taken, NAMESPACE/NAME.
	Account string
	// Audience is what the tokens must be for.
	Audience string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Reviewer is an authority.Attester. Use New.
type Reviewer struct {
	client         *rest.RESTClient
	user, audience string
	now            func() time.Time
}

// Bounds of what the API server is asked. Enrolment as a whole is bounded before; these only keep the client's own, lower,
// bounds away.
const (
	askTimeout      = 8 * time.Second
	asksPerSecond   = 100
	burstOfAsks     = 200
	userPrefix      = "system:serviceaccount:"
	maxAnswerReason = 300
)

// What the API server adds to the name of who holds a token; Kubernetes names the node since 1.30.
const (
	extraPod  = "authentication.kubernetes.io/pod-name"
	extraNode = "authentication.kubernetes.io/node-name"
)

// New makes a reviewer, and asks nothing yet.
func New(cfg Config) (*Reviewer, error) {
	namespace, name, err := parseAccount(cfg.Account)
	if err != nil {
		return nil, err
	}
	if cfg.Audience == "" {
		return nil, errors.New("the audience of ServiceAccount tokens is empty: any pod's token would do")
	}
	group := authenticationv1.SchemeGroupVersion
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	if err := authenticationv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("types of %s: %w", group, err)
	}
	api := rest.CopyConfig(cfg.API)
	api.GroupVersion, api.APIPath = &group, "/apis"
	api.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	api.ContentType, api.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	api.QPS, api.Burst, api.RateLimiter = asksPerSecond, burstOfAsks, nil
	client, err := rest.RESTClientFor(api)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", group, err)
	}
	r := &Reviewer{client: client, user: userPrefix + namespace + ":" + name, audience: cfg.Audience, now: cfg.Now}
	if r.now == nil {
		r.now = time.Now
	}
	return r, nil
}

// parseAccount splits NAMESPACE/NAME.
func parseAccount(account string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(account, "/")
	if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", "", fmt.Errorf("ServiceAccount %q is not NAMESPACE/NAME, such as holdfast-system/holdfast-agent", account)
	}
	return namespace, name, nil
}

// Attest is authority.Attester.Attest.
func (r *Reviewer) Attest(ctx context.Context, token string) (authority.Attestation, error) {
	said, err := readClaims(token)
	if err != nil {
		return authority.Attestation{}, err
	}
	if err := r.plausible(said); err != nil {
		return authority.Attestation{}, err
	}
	answer, err := r.ask(ctx, token)
	if err != nil {
		return authority.Attestation{}, err
	}
	holder, err := r.judge(answer.Status)
	if err != nil {
		return authority.Attestation{}, err
	}
	// The API server has vouched for the token's signature, and so for this claim too.
	holder.Issued = said.issued
	return holder, nil
}

// ask has the API server review a token. The error is authority.ErrAway.
func (r *Reviewer) ask(ctx context.Context, token string) (*authenticationv1.TokenReview, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	question := &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{r.audience}},
	}
	answer := new(authenticationv1.TokenReview)
	err := r.client.Post().Resource("tokenreviews").VersionedParams(&metav1.CreateOptions{}, metav1.ParameterCodec).
		Body(question).Do(ctx).Into(answer)
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		return nil, fmt.Errorf("%w: the collector's own account must be allowed to create tokenreviews.authentication.k8s.io: %w", authority.ErrAway, err)
	case err != nil:
		return nil, fmt.Errorf("%w: review a ServiceAccount token: %w", authority.ErrAway, err)
	}
	return answer, nil
}

// judge says what an answer of the API server vouches for.
func (r *Reviewer) judge(answer authenticationv1.TokenReviewStatus) (authority.Attestation, error) {
	none := authority.Attestation{}
	switch {
	case !answer.Authenticated:
		return none, authority.Refuse(authority.CauseNotVouched, "the API server does not vouch for the ServiceAccount token: %s: %w",
			answer.Error[:min(len(answer.Error), maxAnswerReason)], authority.ErrToken)
	case !slices.Contains(answer.Audiences, r.audience):
		// An API server that knows of no audiences says so by naming none: it would take tokens that are for others.
		return none, authority.Refuse(authority.CauseAudience, "the API server does not say that the ServiceAccount token is for %q: %w", r.audience, authority.ErrToken)
	case answer.User.Username != r.user:
		return none, authority.Refuse(authority.CauseAccount, "the ServiceAccount token is of %q, not of %q: %w", answer.User.Username, r.user, authority.ErrDenied)
	}
	pod, node := one(answer.User.Extra[extraPod]), one(answer.User.Extra[extraNode])
	if pod == "" {
		return none, authority.Refuse(authority.CauseNoPod, "the ServiceAccount token is bound to no pod: the kubelet has to make it, for a projected volume: %w", authority.ErrDenied)
	}
	if node == "" {
		return none, authority.Refuse(authority.CauseNoNode, "the API server does not say which node the pod of the ServiceAccount token is bound to, as Kubernetes does since 1.30 "+
			"(feature gate ServiceAccountTokenPodNodeInfo): upgrade it, or enrol with join tokens (--join-token-file): %w", authority.ErrDenied)
	}
	namespace, _, _ := strings.Cut(strings.TrimPrefix(r.user, userPrefix), ":")
	return authority.Attestation{Node: node, Pod: namespace + "/" + pod}, nil
}

// one is the only value of a list, else nothing.
func one(values authenticationv1.ExtraValue) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
