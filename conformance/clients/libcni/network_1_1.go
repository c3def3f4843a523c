//go:build !libcni13

package main

import (
	"context"
	"fmt"

	"github.com/containernetworking/cni/libcni"
)

// performNetwork has nothing to offer: this libcni has no operation on a whole network.
func performNetwork(_ context.Context, _ *libcni.CNIConfig, _ *libcni.NetworkConfigList, request *Request) error {
	return fmt.Errorf("this libcni has no operation %q", request.Operation)
}
