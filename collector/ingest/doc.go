// SPDX-License-Identifier: Apache-2.0

// Package ingest is where agents arrive: it enrols them, takes what they send on one stream each, has it stored, and
// acknowledges what is stored for good. Records of all agents go through one Committer a lane, which merges what waits
// into one commit. The lanes share nothing but the streams, so that records never hold up alerts.
//
// Whatever an agent sends, it can only harm its own lines: records that make no sense are quarantined and acknowledged,
// and messages that make no sense end the stream.
//
// Committer.Run owns the goroutine that stores, Refusals.Run the one that writes down who was refused. Uplink owns two goroutines for each stream, which Wait joins.
package ingest
