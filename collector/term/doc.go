// SPDX-License-Identifier: Apache-2.0

// Package term writes text that others made up to a terminal: it escapes what could move the cursor, change colours or
// reorder a line, measures what is left in columns, and lays out tables whose rows arrive one after another. It knows
// nothing of alerts or nodes, reads no environment and owns no goroutines.
package term
