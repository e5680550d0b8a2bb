// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"crypto/sha256"
	"encoding/hex"
)

// Digest tells builds of the objects from one another: 16 hexadecimal digits, the same for the same bytes.
func Digest() string {
	h := sha256.New()
	for _, object := range all() {
		h.Write(object)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// all are the objects of this machine.
func all() [][]byte {
	return [][]byte{
		_CgroupBytes, _ContentBytes, _ExecLsmBytes, _FileLsmBytes, _FlowBytes, _NetworkBytes, _NetworkLsmBytes, _NetworkSendBytes, _NetworkSysBytes,
		_PacketBytes, _ProcessBytes, _SecurityBytes, _SocketBytes, _SyscallBytes, _TaskBytes, _TextBytes, _TlsBytes,
	}
}
