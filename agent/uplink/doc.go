// SPDX-License-Identifier: Apache-2.0

// Package uplink is the agent's side of the line to the collector: it enrols the node, keeps and renews its certificate,
// and holds one stream open on which alerts, recorded events and observed profiles go up, and acknowledgements, record
// policies, effective profiles, modes and requests to watch come down. Nothing else of the agent speaks gRPC to the collector.
//
// # Delivery
//
// Each lane has a spool. What the spool gives out is sent as long as the collector's credit lasts, several batches ahead
// of the acknowledgements; what is acknowledged is acknowledged to the spool. When the stream ends, the spool is set back
// to what was acknowledged, and the next stream begins there: the collector drops what it has already by epoch and
// sequence. Alerts go before everything else. What the spool has lost is sent as losses, and so is a record too large for
// any message.
//
// # Identity
//
// docs/enrolment.md describes tokens and certificates. The join token names the collector's authority by a fingerprint,
// so the first connection is as well authenticated as the later ones, and the token is told to nobody else. In Kubernetes the
// ServiceAccount token of the agent's pod takes its place, and a file names the authority. Key,
// certificate and roots lie in one file, DATA-DIR/identity/node.pem, which is replaced as a whole. The certificate is
// renewed when two thirds of its time are over; the stream is then made anew with it, once everything in flight is
// acknowledged.
//
// # Failure
//
// Every failure is retried with a growing, jittered pause, and logged when it changes. A collector that says no (a revoked
// node, another authority, a refused token) is asked again about once a minute. Only a node that was never enrolled, and has
// a join token, gives up: Run then returns the reason.
//
// # Goroutines
//
// New starts none. Run blocks, and joins what it started before it returns. The callbacks of Config are called from
// goroutines of Run, and none is called again after it has returned.
package uplink
