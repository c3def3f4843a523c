//go:build libcni13

package main

import (
	"context"
	"fmt"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// performNetwork does what libcni can do with a whole network since 1.2.
func performNetwork(ctx context.Context, config *libcni.CNIConfig, list *libcni.NetworkConfigList, request *Request) error {
	switch request.Operation {
	case "gc":
		valid := []types.GCAttachment{}
		for _, attachment := range request.Valid {
			valid = append(valid, types.GCAttachment{ContainerID: attachment.ContainerID, IfName: attachment.IfName})
		}
		return config.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid})
	case "status":
		return config.GetStatusNetworkList(ctx, list)
	}
	return fmt.Errorf("no operation is called %q", request.Operation)
}
