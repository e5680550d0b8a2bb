// SPDX-License-Identifier: Apache-2.0

package inspect

// Stats counts since the Inspector was made; Flows, Memory and Decoders are what there is now.
type Stats struct {
	// Pieces and Bytes are what came, Messages and Texts what it was made into. TextBytes is what went to the sink,
	// decoded forms included.
	Pieces, Bytes, Messages, Texts, TextBytes uint64
	// Scanned is bytes of streams that parsers were given: those that waited for more count each time.
	Scanned uint64
	// LineParts is how often the end of a line of HTTP/1 was looked for in bytes that had not been looked at.
	LineParts uint64
	// Flows are followed now, and have Memory bytes of state; Decoders of them are decompressors.
	Flows, Memory, Decoders int
	// Opened, Closed and Idle count flows that began, ended, and were forgotten as idle.
	Opened, Closed, Idle uint64
	// EvictedHalfOpen and Evicted are flows that made room for others: before and after their protocol was known.
	EvictedHalfOpen, Evicted uint64
	// Refused is pieces of flows for which there was no memory.
	Refused uint64

	// OutOfOrder is segments that had to wait; Repeated bytes that had come before; Differing is segments that had
	// other bytes than an earlier copy, of which the earlier was taken. Gaps and GapBytes never came; Cut bytes were
	// not captured.
	OutOfOrder, Repeated, Differing, Gaps, GapBytes, Cut uint64
	// Resynced is how often a parser had to look for the next message; Malformed what was not as its protocol has it.
	Resynced, Malformed uint64
	// LongFields is fields that did not fit FlowBytes.
	LongFields uint64

	// SkippedBytes of messages were beyond MessageBytes or came when nobody could read them any more; OpaqueBytes
	// were encrypted. HeaderBytesCut is header beyond HeaderBytes.
	SkippedBytes, OpaqueBytes, HeaderBytesCut uint64
	// Streams is HTTP/2 streams beyond those followed at a time; HeaderTables is connections whose header compression
	// could not be followed any more.
	Streams, HeaderTables uint64
	// Expansions and Depths are messages whose decoding was given up; BadEncodings damaged or unknown ones;
	// DecoderMemory decoders for which there was no memory, DecoderWork those that were too much work to make for the bytes
	// that came; DecoderBytes is the memory of those that were made, not used again.
	Expansions, Depths, BadEncodings, DecoderMemory, DecoderWork, DecoderBytes uint64
	// Opaque is calls of Sink.Opaque by reason.
	Opaque [reasons]uint64
}
