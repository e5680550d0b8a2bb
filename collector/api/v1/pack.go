// SPDX-License-Identifier: Apache-2.0

package apiv1

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Bounds of what travels, in bytes.
const (
	// MaxProfile is the largest text of a profile, as its writer sees it.
	MaxProfile = 16 << 20
	// maxPlain is the largest text that travels as it is, maxPacked how much a message of 4 MiB has room for.
	maxPlain  = 4 << 10
	maxPacked = 4<<20 - 64<<10
)

// PackProfile makes of the text of a profile what a message carries. The error says that it is too large.
func PackProfile(text []byte) ([]byte, Encoding, error) {
	if len(text) > MaxProfile {
		return nil, 0, fmt.Errorf("a profile of %d bytes is larger than %d", len(text), MaxProfile)
	}
	if len(text) <= maxPlain {
		return text, Encoding_ENCODING_UNSPECIFIED, nil
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, 0, fmt.Errorf("compress a profile: %w", err)
	}
	if b.Len() > maxPacked {
		return nil, 0, fmt.Errorf("a profile of %d bytes, %d compressed, is larger than any message", len(text), b.Len())
	}
	return b.Bytes(), Encoding_ENCODING_GZIP, nil
}

// UnpackProfile gives the text that a message carries, of at most MaxProfile bytes however small it is packed.
func UnpackProfile(packed []byte, encoding Encoding) ([]byte, error) {
	switch encoding {
	case Encoding_ENCODING_UNSPECIFIED:
		return packed, nil
	case Encoding_ENCODING_GZIP:
	default:
		return nil, fmt.Errorf("a profile in encoding %d, which is not known here", encoding)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("decompress a profile: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxProfile+1))
	if err != nil {
		return nil, fmt.Errorf("decompress a profile: %w", err)
	}
	if len(text) > MaxProfile {
		return nil, fmt.Errorf("decompress a profile: larger than %d bytes", MaxProfile)
	}
	return text, nil
}
