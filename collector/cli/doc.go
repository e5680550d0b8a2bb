// SPDX-License-Identifier: Apache-2.0

// Package cli is the holdfast command: it asks a collector over its HTTP API and shows the answer as a table for people
// or as exact JSON. It keeps no state of its own. Everything it takes from the world comes through Env, so that tests
// run the whole command; the goroutines it starts end before Run returns.
package cli
