// SPDX-License-Identifier: Apache-2.0

// Package inspect turns captured bytes into texts that detectors read: it puts the pieces of TCP connections into order,
// finds out which protocol they speak, takes the messages apart and undoes what hides their content (compression,
// base64, URL and hexadecimal encoding, JSON escapes, MIME). Each text goes to a Sink with a Context that says whose it
// is and where in which message it stood.
//
// It is a pure core: no goroutine of its own, no input or output, no clock; time comes with the pieces. An Inspector
// serves one goroutine, which calls it, and calls its Sink from within those calls. (Decompressors that only know how to
// read run as coroutines, which are resumed and suspended within a call and never run beside it.)
//
// Everything read here was written by somebody who may be hostile. Each buffer, table, depth and expansion has a bound in
// Config; what is given up because of one is counted in Stats, and told to Sink.Opaque where a person should know.
// Nothing is kept of a message beyond its end but the method, host and path that its response is shown with.
package inspect
