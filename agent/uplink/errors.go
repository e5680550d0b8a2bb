// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors that callers branch on. They come wrapped with the reason and, where a person can do something, with what.
var (
	// ErrToken says that there is no join token where one is needed, that it is malformed, or that the collector refuses it.
	ErrToken = errors.New("no usable join token")
	// ErrAccount says that the collector does not take the ServiceAccount token of the agent's pod.
	ErrAccount = errors.New("the collector does not take the ServiceAccount token")
	// ErrAuthority says that whoever answers at the address is not the collector that the token, the file beside it, or the identity names.
	ErrAuthority = errors.New("not the collector that this node knows")
	// ErrDenied says that the collector does not have this node: it was revoked, or the token is for another one.
	ErrDenied = errors.New("the collector denies this node")
	// ErrCertificate says that the collector does not take this node's certificate, or that its time is over.
	ErrCertificate = errors.New("the node's certificate cannot be used")
	// ErrRequest says that the collector finds what the agent asks for malformed.
	ErrRequest = errors.New("the collector does not understand this agent")
	// ErrClock says that a certificate is not good at the time that this node's clock shows.
	ErrClock = errors.New("the clocks of this node and the collector differ")
)

var (
	// errRemake ends a stream that is to be made anew at once.
	errRemake = errors.New("the stream is made anew with a new certificate")
	// errBreach ends a stream on which the collector does not keep to the protocol.
	errBreach = errors.New("breach of protocol by the collector")
)

// refused reports whether asking again soon is in vain: the collector, or this node's check of it, said no.
func refused(err error) bool {
	for _, no := range []error{ErrToken, ErrAccount, ErrAuthority, ErrDenied, ErrCertificate, ErrRequest} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// maxReason is how much of what a peer says is passed on, in bytes.
const maxReason = 512

// callError makes an error of a call one of this package's. Unauthenticated says what a refused credential is: ErrToken or
// ErrCertificate.
func callError(err, unauthenticated error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the collector ended the stream")
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	reason := st.Message()
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	switch st.Code() {
	case codes.Unauthenticated:
		return fmt.Errorf("%w: %s", unauthenticated, reason)
	case codes.PermissionDenied:
		return fmt.Errorf("%w: %s", ErrDenied, reason)
	case codes.InvalidArgument, codes.Unimplemented:
		return fmt.Errorf("%w: %s", ErrRequest, reason)
	case codes.DeadlineExceeded:
		return fmt.Errorf("the collector does not answer: %w", context.DeadlineExceeded)
	}
	return fmt.Errorf("%s (%s)", reason, st.Code())
}

// peerError makes an error of verifying a collector's certificate one of this package's.
func peerError(err error, leaf *x509.Certificate, now time.Time) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return clockError("the collector's", leaf, now)
	}
	return fmt.Errorf("%w: %w", ErrAuthority, err)
}

// clockError says how a certificate and this node's clock differ.
func clockError(whose string, c *x509.Certificate, now time.Time) error {
	return fmt.Errorf("%w: %s certificate is good from %s to %s, and it is %s here", ErrClock, whose,
		c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}

// remoteAlert reports whether an error of a TLS connection is an alert that the peer sent, such as that it does not take
// the certificate. crypto/tls tells it by the operation alone.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
