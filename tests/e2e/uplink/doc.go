// SPDX-License-Identifier: Apache-2.0

// Package uplink tests the agent's uplink and spools against the collector: enrolment and its refusals, certificates that
// are renewed while alerts flow, and a collector that is killed. It needs neither root nor containers. The package has no
// code of its own but tests.
package uplink
