// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Bounds of a profile's text, in bytes.
const (
	// maxText is the largest text, as its writer sees it.
	maxText = 16 << 20
	// maxPlain is the largest text that travels as it is.
	maxPlain = 4 << 10
	// maxPacked is how much a message has room for, and maxTogether how much is put together into one.
	maxPacked   = 4<<20 - 64<<10
	maxTogether = 1 << 20
)

// pack makes of a text what a message carries.
func pack(text []byte) ([]byte, apiv1.Encoding, error) {
	if len(text) > maxText {
		return nil, 0, fmt.Errorf("a profile of %d bytes is larger than %d", len(text), maxText)
	}
	if len(text) <= maxPlain {
		return text, apiv1.Encoding_ENCODING_UNSPECIFIED, nil
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
	return b.Bytes(), apiv1.Encoding_ENCODING_GZIP, nil
}

// unpack makes a text of what a message carries.
func unpack(packed []byte, encoding apiv1.Encoding) ([]byte, error) {
	switch encoding {
	case apiv1.Encoding_ENCODING_UNSPECIFIED:
		return packed, nil
	case apiv1.Encoding_ENCODING_GZIP:
	default:
		return nil, fmt.Errorf("encoding %d, which this collector does not know", encoding)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("decompress: larger than %d bytes", maxText)
	}
	return text, nil
}
