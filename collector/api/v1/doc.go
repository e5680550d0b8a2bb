// SPDX-License-Identifier: Apache-2.0

// Package apiv1 is the contract between agents and the collector: protobuf messages and gRPC services generated from
// holdfast.proto, where every field is documented. It is the one package that both sides import. It holds no logic but
// the packing of profiles, and owns no goroutines.
package apiv1

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative holdfast.proto
