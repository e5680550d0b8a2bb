// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
)

// Rates of enrolment: attempts of all together, and failures of one address.
const (
	attemptsPerSecond = 50
	attemptBurst      = 200
	failuresPerSecond = 0.2
	failureBurst      = 10
	// maxAddresses is how many addresses are told apart.
	maxAddresses = 4096
)

// limits bound what enrolment costs, and how fast tokens can be guessed.
type limits struct {
	attempts *rate.Limiter

	mu       sync.Mutex
	failures map[string]*rate.Limiter
}

func newLimits() *limits {
	return &limits{attempts: rate.NewLimiter(attemptsPerSecond, attemptBurst), failures: map[string]*rate.Limiter{}}
}

// allow says whether an address may try.
func (l *limits) allow(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failures[host]
	return (f == nil || f.Tokens() >= 1) && l.attempts.Allow()
}

// failed notes a failure of an address.
func (l *limits) failed(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failures[host]
	if f == nil {
		if len(l.failures) >= maxAddresses {
			clear(l.failures)
		}
		f = rate.NewLimiter(failuresPerSecond, failureBurst)
		l.failures[host] = f
	}
	f.Allow()
}

// enrolment serves apiv1.Enrolment.
type enrolment struct {
	apiv1.UnimplementedEnrolmentServer
	server *Server
}

// attempt is one call by which somebody would become, or stay, a node.
type attempt struct {
	// call is what rejections are counted by, credential what was presented.
	call, credential string
	node, address    string
}

// host is the address without its port.
func (a attempt) host() string {
	host, _, err := net.SplitHostPort(a.address)
	if err != nil {
		return a.address
	}
	return host
}

// Enrol is apiv1.EnrolmentServer.Enrol.
func (e enrolment) Enrol(ctx context.Context, req *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
	s := e.server
	a := attempt{call: "enrol", credential: credentialJoinToken, node: req.GetNode(), address: addressOf(ctx)}
	if req.GetServiceAccountToken() != "" {
		a.credential = credentialAccount
	}
	if !s.limits.allow(a.host()) {
		a.call = "enrol_rate"
		s.refused(a, causeRate, errors.New("too many attempts"))
		return nil, status.Error(codes.ResourceExhausted, "too many attempts to enrol: wait a minute")
	}
	issued, err := s.enrol(ctx, a, req)
	if err != nil {
		if authority.CauseOf(err) != "" {
			s.limits.failed(a.host())
		}
		return nil, s.refuse(a, err)
	}
	s.metrics.enrolled.WithLabelValues("enrol").Inc()
	s.log.Info("node enrolled", "node", a.node, "address", a.address, "credential", a.credential, "expires", issued.NotAfter)
	return certificate(issued), nil
}

// enrol has the authority judge the one token that a request has.
func (s *Server) enrol(ctx context.Context, a attempt, req *apiv1.EnrolRequest) (authority.Issued, error) {
	if a.credential == credentialJoinToken {
		return s.authority.Enrol(ctx, req.GetJoinToken(), req.GetNode(), req.GetCsr())
	}
	if req.GetJoinToken() != "" {
		return authority.Issued{}, authority.Refuse(authority.CauseRequest, "a join token and a ServiceAccount token at once: %w", authority.ErrRequest)
	}
	return s.authority.EnrolAccount(ctx, req.GetServiceAccountToken(), req.GetNode(), req.GetCsr())
}

// Renew is apiv1.EnrolmentServer.Renew.
func (e enrolment) Renew(ctx context.Context, req *apiv1.RenewRequest) (*apiv1.Certificate, error) {
	s := e.server
	node, _, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	a := attempt{call: "renew", credential: credentialCertificate, node: node, address: addressOf(ctx)}
	issued, err := s.authority.Renew(node, req.GetCsr())
	if err != nil {
		return nil, s.refuse(a, err)
	}
	s.metrics.enrolled.WithLabelValues("renew").Inc()
	s.log.Info("certificate renewed", "node", node, "address", a.address, "expires", issued.NotAfter)
	return certificate(issued), nil
}

// refuse reports what the authority refused, and says it to the client.
func (s *Server) refuse(a attempt, err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(err, authority.ErrToken):
		code = codes.Unauthenticated
	case errors.Is(err, authority.ErrDenied):
		code = codes.PermissionDenied
	case errors.Is(err, authority.ErrRequest):
		code = codes.InvalidArgument
	}
	cause := string(authority.CauseOf(err))
	if cause == "" {
		cause = causeUnavailable
	}
	s.refused(a, cause, err)
	switch {
	case errors.Is(err, authority.ErrAway):
		return status.Error(codes.Unavailable, "the collector cannot ask the Kubernetes API server about the token: see its log")
	case code == codes.Unavailable:
		return status.Error(code, "the collector cannot answer now: see its log")
	}
	return status.Error(code, err.Error())
}

// refused logs, counts and keeps that a node was refused.
func (s *Server) refused(a attempt, cause string, err error) {
	s.metrics.refused.WithLabelValues(a.credential, cause).Inc()
	s.refusals.note(a.node, a.host(), a.credential, cause, err.Error(), time.Now())
	s.reject(a.call, a.address, err, "node", short(a.node), "credential", a.credential, "cause", cause)
}

func certificate(i authority.Issued) *apiv1.Certificate {
	return &apiv1.Certificate{Chain: i.Chain, Roots: i.Roots}
}

// identify says which node calls, by its certificate.
func (s *Server) identify(ctx context.Context) (string, *x509.Certificate, error) {
	a := attempt{call: "certificate", credential: credentialCertificate, address: addressOf(ctx)}
	p, ok := peer.FromContext(ctx)
	info, isTLS := credentials.TLSInfo{}, false
	if ok {
		info, isTLS = p.AuthInfo.(credentials.TLSInfo)
	}
	if !isTLS || len(info.State.VerifiedChains) == 0 {
		s.reject("no_certificate", a.address, errors.New("no client certificate"))
		return "", nil, status.Error(codes.Unauthenticated, "a client certificate of this collector's authority is needed: enrol first")
	}
	cert := info.State.VerifiedChains[0][0]
	node, err := s.authority.Node(ctx, cert)
	if err != nil {
		a.node = cert.Subject.CommonName
		return "", nil, s.refuse(a, err)
	}
	return node, cert, nil
}

func addressOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}
