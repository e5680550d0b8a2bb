// SPDX-License-Identifier: Apache-2.0

// Package store says what the collector keeps and how it is asked for: the lines of alerts and recorded events that
// agents send, what is known of each node, tokens, the record policy, profiles and modes. It holds the interface and its
// types; package store/sqlite implements it, and package store/storetest is the suite that every implementation passes. It
// owns no goroutines.
package store

import (
	"context"
	"errors"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Errors that callers branch on. Every one comes wrapped with what was looked for.
var (
	// ErrNotFound says that there is no such row, node or token.
	ErrNotFound = errors.New("not found")
	// ErrCursor says that a cursor is not one that this store gave out.
	ErrCursor = errors.New("malformed cursor")
	// ErrFull says that the disk took no more. The write can be tried again; nothing of it was stored.
	ErrFull = errors.New("no space left for the store")
	// ErrSpent says that a join token has no uses left, or that it ran out or was revoked.
	ErrSpent = errors.New("token is spent, expired or revoked")
	// ErrFilter says that a filter cannot be understood, such as a malformed pattern.
	ErrFilter = errors.New("malformed filter")
)

// Store is everything that the collector keeps. Every method may be called concurrently.
type Store interface {
	Lines
	Reader
	Nodes
	Tokens
	Policies
	Profiles
	Modes
	Refusals

	// Close ends the store. No other method may run or be called any more.
	Close() error
}

// Lines is the writing side: what agents send, one line for each (node, lane).
type Lines interface {
	// Append stores one commit of a lane, made of batches of any nodes in the order given. It returns once everything is
	// stored for good, and then what became of each batch, in the same order. A record at or below the line's position is
	// a duplicate and is not stored again: what an agent sends twice is stored once, whatever ended in between. On an
	// error nothing of the commit was stored; ErrFull can be tried again.
	Append(ctx context.Context, lane apiv1.Lane, batches []Batch) ([]Outcome, error)
	// Positions returns how far each epoch of each lane of a node is stored, the epoch written last first.
	Positions(ctx context.Context, node string) ([]Position, error)
	// Losses returns, for every node, how many records of a lane will never come, by cause.
	Losses(ctx context.Context, lane apiv1.Lane) ([]LossCount, error)
	// Usage returns what a lane takes.
	Usage(ctx context.Context, lane apiv1.Lane) (Usage, error)
	// Trim drops the oldest stored days of a lane until it keeps the bounds that the store was opened with.
	Trim(ctx context.Context, lane apiv1.Lane, now time.Time) (Trimmed, error)
}

// Reader is the asking side.
type Reader interface {
	// List returns the rows that match, ordered by the time of the event, a page at a time.
	List(ctx context.Context, q Query) (Page, error)
	// Get returns one row by its ID; ErrNotFound when there is none.
	Get(ctx context.Context, lane apiv1.Lane, id string) (Row, error)
	// Follow calls emit for every matching row in the order in which rows were stored, then waits for more, until ctx ends
	// or emit returns an error, which it returns. It begins behind the row whose cursor is given. Without a cursor it
	// begins with what is stored and matches when f.Since is set, else with what is stored from now on. No row is left
	// out or given twice.
	Follow(ctx context.Context, lane apiv1.Lane, f Filter, after Cursor, emit func(Row) error) error
	// Quarantined returns the newest records that were refused, at most limit.
	Quarantined(ctx context.Context, lane apiv1.Lane, limit int) ([]Quarantined, error)
}

// Batch is what one node sent of one epoch: entries in ascending sequence, and the ranges that will never come.
type Batch struct {
	Node     string
	Epoch    uint64
	Received time.Time
	Entries  []Entry
	Losses   []Loss
}

// Entry is one record. Exactly one of Record and Refused is set.
type Entry struct {
	Sequence uint64
	// Record is what is stored. It must hold an alert in the alerts lane and an event in the records lane.
	Record *apiv1.Record
	// Refused says why the record is quarantined instead.
	Refused string
	// Raw is what was sent: the encoding of Record, or what was refused.
	Raw []byte
}

// Loss is a range of sequences that will never come.
type Loss struct {
	First, Last uint64
	Cause       string
}

// Outcome is what became of a batch.
type Outcome struct {
	// Stored, Quarantined and Duplicate count the batch's entries.
	Stored, Quarantined, Duplicate int
	// Lost counts the sequences that the batch's losses named for the first time, Gap those missing without a word.
	Lost, Gap uint64
	// Position is the last sequence of the epoch that is stored, quarantined or lost.
	Position uint64
}

// CauseGap is the cause under which sequences are counted that were missing without a word.
const CauseGap = "gap"

// Position is how far an epoch of a lane of a node is stored.
type Position struct {
	Node     string
	Lane     apiv1.Lane
	Epoch    uint64
	Sequence uint64
}

// LossCount is how many records of a node's lane will never come for one cause.
type LossCount struct {
	Node  string
	Cause string
	Count uint64
}

// Usage is what a lane takes on disk. Shed counts the rows that were dropped to stay within bounds since the store began.
type Usage struct {
	Bytes int64
	Rows  uint64
	Shed  uint64
	// Oldest is the beginning of the oldest day that is kept, zero when there is none.
	Oldest time.Time
}

// Trimmed is what Trim dropped.
type Trimmed struct {
	Files int
	Rows  uint64
	Bytes int64
}

// Quarantined is a record that could not be stored as an alert or event.
type Quarantined struct {
	Node     string
	Epoch    uint64
	Sequence uint64
	Received time.Time
	Reason   string
	// Raw is the beginning of what was sent.
	Raw []byte
}

// Filter says which rows match. The zero value matches every row; set fields must all match.
type Filter struct {
	// Since and Until bound the time of the event: at or after Since, before Until.
	Since, Until time.Time
	// Workload is a shell pattern over namespace/workload/container, in the form that Subject gives; * does not cross a
	// slash. A pattern with fewer parts matches every row below it: shop is shop/*/*.
	Workload string
	// Node is the exact name of a node.
	Node string
	// Rule is a shell pattern over the rule name; * matches anything. Only alerts have rules.
	Rule string
	// Priority is the least urgent priority that matches. Only alerts have priorities.
	Priority apiv1.Priority
	// Types are event types of which one must match.
	Types []string
	// Text is looked for in the output, process, arguments, paths, addresses and names, whatever the case.
	Text string
}

// Query asks for a page of a lane.
type Query struct {
	Lane apiv1.Lane
	Filter
	// Newest asks for the newest row first, else the oldest comes first.
	Newest bool
	// Limit is the most rows of a page: 1 to MaxLimit; 0 means DefaultLimit.
	Limit int
	// After continues behind the row whose cursor it is. The rest of the query should be the same.
	After Cursor
}

// Bounds of Query.Limit.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Page is an answer to a Query.
type Page struct {
	Rows []Row
	// Next is the cursor for the next page, empty when the last row has been given.
	Next Cursor
}

// Cursor names the place of a row, both in time and in the order of storing, so it serves List and Follow alike. It is
// printable ASCII without spaces, and safe in URLs. It stays valid when the row is dropped.
type Cursor string

// Row is one stored alert or event.
type Row struct {
	// ID is stable: the same record keeps it whenever and however often it is sent. See FormatID.
	ID       string
	Node     string
	Epoch    uint64
	Sequence uint64
	// Received is when the collector took it.
	Received time.Time
	Cursor   Cursor
	// Record holds an alert in the alerts lane, an event in the records lane.
	Record *apiv1.Record
}
