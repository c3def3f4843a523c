// Command attach is a container runtime of the smallest kind over the real libcni: one operation on one attachment (or, for
// gc and status, on a network) in one process, so that every two operations have a restart between them and what the
// second one knows of the first is libcni's cache on disk.
//
// The request is one JSON object on standard input, the answer one on standard output; exit status 1 with an error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// Request is what to do. Operation is add, check, del, cached, validate, gc, status.
type Request struct {
	Operation      string                 `json:"operation"`
	Config         json.RawMessage        `json:"config"`
	PluginPath     []string               `json:"pluginPath"`
	CacheDirectory string                 `json:"cacheDirectory"`
	ContainerID    string                 `json:"containerID"`
	NetNS          string                 `json:"netns"`
	IfName         string                 `json:"ifname"`
	Args           [][2]string            `json:"args"`
	CapabilityArgs map[string]interface{} `json:"capabilityArgs"`
	Valid          []Attachment           `json:"valid"`
}

// Attachment is an entry of the list of valid attachments.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// Answer holds what an operation returned.
type Answer struct {
	Result       types.Result    `json:"result,omitempty"`
	Cached       types.Result    `json:"cached,omitempty"`
	CachedConfig json.RawMessage `json:"cachedConfig,omitempty"`
	Capabilities []string        `json:"capabilities,omitempty"`
	Error        *Failure        `json:"error,omitempty"`
}

// Failure is libcni's error. Code is 0 for an error that is not a plugin's error object.
type Failure struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details"`
	Text    string `json:"text"`
}

func main() {
	var request Request
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		fmt.Fprintln(os.Stderr, "no request on standard input:", err)
		os.Exit(2)
	}
	answer, err := perform(&request)
	if err != nil {
		answer = &Answer{Error: &Failure{Text: err.Error()}}
		var pluginError *types.Error
		if errors.As(err, &pluginError) {
			answer.Error.Code = pluginError.Code
			answer.Error.Msg = pluginError.Msg
			answer.Error.Details = pluginError.Details
		}
	}
	if encodeError := json.NewEncoder(os.Stdout).Encode(answer); encodeError != nil {
		fmt.Fprintln(os.Stderr, encodeError)
		os.Exit(2)
	}
	if err != nil {
		os.Exit(1)
	}
}

func perform(request *Request) (*Answer, error) {
	list, err := libcni.ConfListFromBytes(request.Config)
	if err != nil {
		return nil, err
	}
	config := libcni.NewCNIConfigWithCacheDir(request.PluginPath, request.CacheDirectory, nil)
	runtime := &libcni.RuntimeConf{
		ContainerID:    request.ContainerID,
		NetNS:          request.NetNS,
		IfName:         request.IfName,
		Args:           request.Args,
		CapabilityArgs: request.CapabilityArgs,
	}
	ctx := context.Background()
	answer := &Answer{}
	switch request.Operation {
	case "add":
		answer.Result, err = config.AddNetworkList(ctx, list, runtime)
	case "check":
		err = config.CheckNetworkList(ctx, list, runtime)
	case "del":
		err = config.DelNetworkList(ctx, list, runtime)
	case "cached":
		answer.Cached, err = config.GetNetworkListCachedResult(list, runtime)
		if err == nil {
			answer.CachedConfig, _, err = config.GetNetworkListCachedConfig(list, runtime)
		}
	case "validate":
		answer.Capabilities, err = config.ValidateNetworkList(ctx, list)
	default:
		err = performNetwork(ctx, config, list, request)
	}
	return answer, err
}
