// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Texts shorter than minPacked are kept as they are: they do not begin like gzip does.
const (
	minPacked = 1 << 10
	gzipMagic = "\x1f\x8b"
)

// pack is a text as it is kept: gzip if it is worth it, or NULL for none.
func pack(text []byte) (any, error) {
	if text == nil {
		return nil, nil
	}
	if len(text) < minPacked && !bytes.HasPrefix(text, []byte(gzipMagic)) {
		return text, nil
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compress a text: %w", err)
	}
	return b.Bytes(), nil
}

// unpack is the text that pack kept.
func unpack(blob []byte) ([]byte, error) {
	if !bytes.HasPrefix(blob, []byte(gzipMagic)) {
		return blob, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		return nil, fmt.Errorf("decompress a text: %w", err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("decompress a text: %w", err)
	}
	return text, nil
}
