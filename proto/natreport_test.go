package proto

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
)

// natValue is one of the enumerations of a report.
type natValue struct {
	column string // of the specification's table
	count  uint8  // of its values, 0 included
	name   func(uint8) string
}

func natValues() []natValue {
	return []natValue{
		{"mapping", 6, func(n uint8) string { return NATMapping(n).String() }},
		{"allocation", 5, func(n uint8) string { return NATAllocation(n).String() }},
		{"pooling", 3, func(n uint8) string { return NATPooling(n).String() }},
		{"filtering", 4, func(n uint8) string { return NATFiltering(n).String() }},
		{"answer", 6, func(n uint8) string { return NATAnswer(n).String() }},
		{"policy", 4, func(n uint8) string { return NATErrorPolicy(n).String() }},
		{"truth", 3, func(n uint8) string { return NATTruth(n).String() }},
	}
}

// A value that a version does not know is unknown, whatever it is called.
func TestNATValuesHaveNames(t *testing.T) {
	for _, v := range natValues() {
		if v.name(0) != "unknown" || v.name(v.count) == v.name(v.count-1) {
			t.Errorf("%s: 0 is %s, and %d is %s", v.column, v.name(0), v.count, v.name(v.count))
		}
		if got := v.name(77); got != "unknown (77)" {
			t.Errorf("%s: 77 is %s", v.column, got)
		}
	}
}

// In JSON the values have their names, those of later versions, too.
func TestNATReportInJSON(t *testing.T) {
	for want, r := range map[string]*NATReport{
		`{}`: {},
		`{"mapping":"endpoint-independent","allocation":"sequential","delta":-1,"unsolicited":"RST","on_reset":"deleted","poisoned":"no"}`: {
			Mapping: MappingEndpointIndependent, Allocation: AllocationSequential, Delta: -1,
			Unsolicited: AnswerReset, OnReset: PolicyDelete, Poisoned: TruthNo,
		},
		`{"pooling":"unknown (9)","filtering":"unknown (255)"}`: {Pooling: 9, Filtering: 255},
	} {
		text, err := json.Marshal(r)
		if err != nil || string(text) != want {
			t.Errorf("%+v: %s, %v", r, text, err)
		}
		got := new(NATReport)
		if err := json.Unmarshal([]byte(want), got); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	for _, bad := range []string{`{"mapping":"cone"}`, `{"mapping":"unknown (256)"}`, `{"mapping":"unknown (-1)"}`, `{"mapping":2}`, `{"mapping":""}`} {
		if err := json.Unmarshal([]byte(bad), new(NATReport)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestNATReportCheck(t *testing.T) {
	for name, c := range map[string]struct {
		report *NATReport
		want   error
	}{
		"none":                       {nil, nil},
		"nothing known":              {&NATReport{}, nil},
		"everything at its limit":    {maximalNAT(), nil},
		"a block of one port":        {&NATReport{Allocation: AllocationBlock, Low: 1, High: 1}, nil},
		"a block of unknown bounds":  {&NATReport{Allocation: AllocationBlock}, nil},
		"a value of later versions":  {&NATReport{Allocation: 77}, nil},
		"a step without a sequence":  {&NATReport{Delta: 1}, nil},
		"one sample too many":        {&NATReport{Samples: make([]uint16, MaxNATSamples+1)}, ErrTooLarge},
		"a sample of 0":              {&NATReport{Samples: []uint16{1, 0}}, ErrMalformed},
		"a low end only":             {&NATReport{Low: 1}, ErrMalformed},
		"a high end only":            {&NATReport{High: 1}, ErrMalformed},
		"the low end above the high": {&NATReport{Low: 2, High: 1}, ErrMalformed},
		"a sequence without a step":  {&NATReport{Allocation: AllocationSequential}, ErrMalformed},
		"more than certain":          {&NATReport{Confidence: 101}, ErrMalformed},
	} {
		if err := c.report.check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
