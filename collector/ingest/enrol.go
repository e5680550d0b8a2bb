// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"sync"

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

// Enrol is apiv1.EnrolmentServer.Enrol.
func (e enrolment) Enrol(ctx context.Context, req *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
	s := e.server
	address := addressOf(ctx)
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if !s.limits.allow(host) {
		s.reject("enrol_rate", address, errors.New("too many attempts"), "node", short(req.GetNode()))
		return nil, status.Error(codes.ResourceExhausted, "too many attempts to enrol: wait a minute")
	}
	issued, err := s.authority.Enrol(ctx, req.GetJoinToken(), req.GetNode(), req.GetCsr())
	if err != nil {
		s.limits.failed(host)
		return nil, s.refuse("enrol", address, req.GetNode(), err)
	}
	s.metrics.enrolled.WithLabelValues("enrol").Inc()
	s.log.Info("node enrolled", "node", req.GetNode(), "address", address, "expires", issued.NotAfter)
	return certificate(issued), nil
}

// Renew is apiv1.EnrolmentServer.Renew.
func (e enrolment) Renew(ctx context.Context, req *apiv1.RenewRequest) (*apiv1.Certificate, error) {
	s := e.server
	address := addressOf(ctx)
	node, _, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	issued, err := s.authority.Renew(node, req.GetCsr())
	if err != nil {
		return nil, s.refuse("renew", address, node, err)
	}
	s.metrics.enrolled.WithLabelValues("renew").Inc()
	s.log.Info("certificate renewed", "node", node, "address", address, "expires", issued.NotAfter)
	return certificate(issued), nil
}

// refuse logs and counts what the authority refused, and says it to the client.
func (s *Server) refuse(call, address, node string, err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(err, authority.ErrToken):
		code = codes.Unauthenticated
	case errors.Is(err, authority.ErrDenied):
		code = codes.PermissionDenied
	case errors.Is(err, authority.ErrRequest):
		code = codes.InvalidArgument
	}
	s.reject(call, address, err, "node", short(node))
	if code == codes.Unavailable {
		return status.Error(code, "the collector cannot answer now: see its log")
	}
	return status.Error(code, err.Error())
}

func certificate(i authority.Issued) *apiv1.Certificate {
	return &apiv1.Certificate{Chain: i.Chain, Roots: i.Roots}
}

// identify says which node calls, by its certificate.
func (s *Server) identify(ctx context.Context) (string, *x509.Certificate, error) {
	address := addressOf(ctx)
	p, ok := peer.FromContext(ctx)
	info, isTLS := credentials.TLSInfo{}, false
	if ok {
		info, isTLS = p.AuthInfo.(credentials.TLSInfo)
	}
	if !isTLS || len(info.State.VerifiedChains) == 0 {
		s.reject("no_certificate", address, errors.New("no client certificate"))
		return "", nil, status.Error(codes.Unauthenticated, "a client certificate of this collector's authority is needed: enrol first")
	}
	cert := info.State.VerifiedChains[0][0]
	node, err := s.authority.Node(ctx, cert)
	if err != nil {
		return "", nil, s.refuse("certificate", address, cert.Subject.CommonName, err)
	}
	return node, cert, nil
}

func addressOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}
