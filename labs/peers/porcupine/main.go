// What porcupine needs for the histories it ships, beside which `make bench` measures Murphy.
//
//	porcupine TEST_DATA ROUNDS
//
// prints one line of JSON for each group of files: how long reading took, and checking, in nanoseconds (the least of
// several rounds), and how many were linearizable. One processor, as GOMAXPROCS says.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"
)

// A register with compare-and-set.

type registerInput struct {
	op       byte // r, w, c
	one, two int
}

type registerOutput struct {
	done    bool
	isNil   bool
	value   int
	unknown bool
}

const empty = -1 << 31

var register = porcupine.Model{
	Init: func() any { return empty },
	Step: func(state, input, output any) (bool, any) {
		held := state.(int)
		in, out := input.(registerInput), output.(registerOutput)
		switch in.op {
		case 'r':
			return out.unknown || (out.isNil && held == empty) || (!out.isNil && out.value == held), held
		case 'w':
			return true, in.one
		}
		is := held == in.one
		if is {
			return out.done || out.unknown, in.two
		}
		return !out.done || out.unknown, held
	},
	Hash: func(state any) uint64 { return uint64(state.(int)) * 0x9e3779b97f4a7c15 },
}

// Texts under keys; the state is one key's text.

type storeInput struct {
	op         byte // g, p, a
	key, value string
}

func textHash(text string) uint64 {
	hash := uint64(14695981039346656037)
	for i := 0; i < len(text); i++ {
		hash = (hash ^ uint64(text[i])) * 1099511628211
	}
	return hash
}

var store = porcupine.Model{
	PartitionEvent: func(history []porcupine.Event) [][]porcupine.Event {
		parts := map[string][]porcupine.Event{}
		keyOf := map[int]string{}
		for _, event := range history {
			if event.Kind == porcupine.CallEvent {
				keyOf[event.Id] = event.Value.(storeInput).key
			}
			key := keyOf[event.Id]
			parts[key] = append(parts[key], event)
		}
		var keys []string
		for key := range parts {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		var sorted [][]porcupine.Event
		for _, key := range keys {
			sorted = append(sorted, parts[key])
		}
		return sorted
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		held, in := state.(string), input.(storeInput)
		switch in.op {
		case 'g':
			return output.(string) == held, held
		case 'p':
			return true, in.value
		}
		return true, held + in.value
	},
	Hash: func(state any) uint64 { return textHash(state.(string)) },
}

func lines(path string) []string {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	var read []string
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		read = append(read, scanner.Text())
	}
	return read
}

var logLine = regexp.MustCompile(`^INFO\s+jepsen\.util - (\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.*)$`)
var number = regexp.MustCompile(`-?\d+`)

func readLog(path string) []porcupine.Event {
	var events []porcupine.Event
	open, id := map[int]int{}, 0
	input := map[int]registerInput{}
	for _, line := range lines(path) {
		match := logLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		process, _ := strconv.Atoi(match[1])
		var values []int
		for _, text := range number.FindAllString(match[4], -1) {
			value, _ := strconv.Atoi(text)
			values = append(values, value)
		}
		switch match[2] {
		case "invoke":
			in := registerInput{op: match[3][0]}
			if len(values) > 0 {
				in.one = values[0]
			}
			if len(values) > 1 {
				in.two = values[1]
			}
			open[process], input[process] = id, in
			events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.CallEvent, Value: in, Id: id})
			id++
		case "ok", "fail":
			out := registerOutput{done: match[2] == "ok"}
			if match[3] == "read" {
				if match[2] == "fail" {
					out.unknown = true
				} else if len(values) == 0 {
					out.isNil = true
				} else {
					out.value = values[0]
				}
			}
			events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.ReturnEvent, Value: out, Id: open[process]})
			delete(open, process)
		}
	}
	for process, id := range open {
		events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.ReturnEvent, Value: registerOutput{unknown: true}, Id: id})
	}
	return events
}

var storeLine = regexp.MustCompile(`^\{:process (\d+), :type :(invoke|ok), :f :(get|put|append), :key "(.*)", :value (nil|"(.*)")\}$`)

func readStore(path string) []porcupine.Event {
	var events []porcupine.Event
	open, id := map[int]int{}, 0
	for _, line := range lines(path) {
		match := storeLine.FindStringSubmatch(line)
		if match == nil {
			panic(line)
		}
		process, _ := strconv.Atoi(match[1])
		if match[2] == "invoke" {
			open[process] = id
			in := storeInput{op: match[3][0], key: match[4], value: match[6]}
			events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.CallEvent, Value: in, Id: id})
			id++
		} else {
			events = append(events, porcupine.Event{ClientId: process, Kind: porcupine.ReturnEvent, Value: match[6], Id: open[process]})
		}
	}
	return events
}

type row struct {
	Group        string `json:"group"`
	Files        int    `json:"files"`
	Events       int    `json:"events"`
	Linearizable int    `json:"linearizable"`
	Undecided    int    `json:"undecided"`
	ReadNs       int64  `json:"read_ns"`
	CheckNs      int64  `json:"check_ns"`
}

func measure(group string, paths []string, read func(string) []porcupine.Event, model porcupine.Model, rounds int, limit time.Duration) {
	best := row{Group: group, Files: len(paths)}
	for round := 0; round < rounds; round++ {
		runtime.GC()
		now := row{Group: group, Files: len(paths)}
		began := time.Now()
		var histories [][]porcupine.Event
		for _, path := range paths {
			histories = append(histories, read(path))
		}
		now.ReadNs = time.Since(began).Nanoseconds()
		began = time.Now()
		for _, history := range histories {
			now.Events += len(history)
			switch porcupine.CheckEventsTimeout(model, history, limit) {
			case porcupine.Ok:
				now.Linearizable++
			case porcupine.Unknown:
				now.Undecided++
			}
		}
		now.CheckNs = time.Since(began).Nanoseconds()
		if round == 0 || now.CheckNs < best.CheckNs {
			best = now
		}
	}
	text, _ := json.Marshal(best)
	fmt.Println(string(text))
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: porcupine TEST_DATA ROUNDS")
		os.Exit(2)
	}
	data := os.Args[1]
	rounds, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	var logs []string
	for number := 0; number <= 102; number++ {
		if number != 95 {
			logs = append(logs, filepath.Join(data, "jepsen", fmt.Sprintf("etcd_%03d.log", number)))
		}
	}
	measure("etcd logs", logs, readLog, register, rounds, 0)
	for _, name := range []string{"c01-ok", "c01-bad", "c10-ok", "c10-bad", "c50-ok", "c50-bad"} {
		path := []string{filepath.Join(data, "kv", name+".txt")}
		measure(name, path, readStore, store, rounds, time.Minute)
	}
}
