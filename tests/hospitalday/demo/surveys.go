package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/px360/px360/gen/client"
)

// survey has the day's surveys sent and answered, where the messages can be read, and counts what became of them.
func (p *player) survey(ctx context.Context) error {
	if p.outbox == "" {
		return nil
	}
	if err := p.sendSurveys(ctx); err != nil {
		return fmt.Errorf("send the surveys: %w", err)
	}
	if err := p.answerSurveys(ctx); err != nil {
		return fmt.Errorf("answer the surveys: %w", err)
	}
	return p.countSurveys(ctx)
}

// sendSurveys makes the surveys due now, and waits until none is pending.
func (p *player) sendSurveys(ctx context.Context) error {
	always := client.QuietHours{Start: "00:00", End: "00:00"} // the demo is played at any time of day
	if _, err := p.api.UpdateHospitalSettings(ctx, p.hospital, client.HospitalSettingsUpdate{QuietHours: &always}); err != nil {
		return err
	}
	pending := &client.ListSurveyInstancesParams{Hospital: &p.hospital, Status: client.Ptr(client.SurveyStatusPending)}
	var due []client.SurveyInstance
	for survey, err := range p.api.AllSurveyInstances(ctx, pending) {
		if err != nil {
			return err
		}
		due = append(due, survey)
	}
	p.progress.start("surveys being sent", len(due))
	group, calling := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, survey := range due {
		group.Go(func() error {
			_, err := p.api.SendSurveyInstance(calling, survey.ID, client.WithRepeats())
			if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == 409 {
				return nil // it was sent meanwhile
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	least, moved := int64(len(due)), time.Now()
	for least > 0 {
		list, err := p.api.ListSurveyInstances(ctx, &client.ListSurveyInstancesParams{
			Hospital: &p.hospital, Status: pending.Status, PageSize: client.Ptr(client.PageSize(1)),
		})
		if err != nil {
			return err
		}
		if list.Count < least {
			p.progress.add(int(least - list.Count))
			least, moved = list.Count, time.Now()
		}
		if time.Since(moved) > stall {
			break // the summary tells how many are pending
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	p.progress.close()
	return nil
}

// answerSurveys answers two in three surveys of the outbox, each always in the same way.
func (p *player) answerSurveys(ctx context.Context) error {
	tokens, err := readTokens(p.outbox)
	if err != nil {
		return err
	}
	p.progress.start("surveys being answered", len(tokens))
	group, calling := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, token := range tokens {
		chance := fnv.New32a()
		_, _ = chance.Write([]byte(token))
		number := chance.Sum32()
		if number%3 == 0 {
			p.summary.SurveyToOpen = "/s/" + token
			p.progress.add(1)
			continue
		}
		group.Go(func() error {
			defer p.progress.add(1)
			return p.answerSurvey(calling, token, number/3)
		})
	}
	err = group.Wait()
	p.progress.close()
	return err
}

func (p *player) answerSurvey(ctx context.Context, token string, number uint32) error {
	survey, err := p.api.RetrievePublicSurvey(ctx, token)
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == 404 {
		return nil // of another database, or at an end
	}
	if err != nil || survey.Status != client.PublicSurveyStatusOpen {
		return err
	}
	body := client.PublicSurveyUpdate{Complete: true, Language: client.Ptr(client.Language([]string{"ar", "en"}[number%2]))}
	for i, section := range survey.Sections {
		for _, question := range section.Questions {
			answer := answerTo(question, number)
			if len(answer) > 0 {
				body.Answers = append(body.Answers, client.PublicAnswer{Section: int32(i + 1), Question: question.ID, Answer: answer})
			}
		}
	}
	_, err = p.api.AnswerPublicSurvey(ctx, token, body, client.WithRepeats())
	return err
}

// answerTo is what a patient answers: most are content.
func answerTo(question client.PublicSurveyQuestion, number uint32) []string {
	mood := []int{5, 5, 4, 4, 5, 3, 4, 2, 5, 1}[number/2%10]
	switch question.QuestionType {
	case client.QuestionTypeRating:
		return []string{strconv.Itoa(mood)}
	case client.QuestionTypeLikert:
		return []string{strconv.Itoa(max(1, mood-int(number/20%2)))}
	case client.QuestionTypeNPS:
		return []string{strconv.Itoa(2 * mood)}
	case client.QuestionTypeYesNo:
		if mood < 3 {
			return []string{"yes"}
		}
		return []string{"no"}
	}
	return nil
}

// readTokens reads the tokens of the links in an outbox, each once.
func readTokens(outbox string) ([]string, error) {
	file, err := os.Open(outbox)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var tokens []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var message struct{ Text string }
		if json.Unmarshal(lines.Bytes(), &message) != nil {
			continue // a line that is being written
		}
		_, rest, found := strings.Cut(message.Text, "/s/")
		if token := strings.Fields(rest + " "); found && len(token) > 0 && !seen[token[0]] {
			seen[token[0]] = true
			tokens = append(tokens, token[0])
		}
	}
	return tokens, lines.Err()
}

// countSurveys counts the hospital's surveys by where they stand, and reads its scores.
func (p *player) countSurveys(ctx context.Context) error {
	p.summary.SurveyOutcomes = map[Outcome]int{}
	for survey, err := range p.api.AllSurveyInstances(ctx, &client.ListSurveyInstancesParams{Hospital: &p.hospital, PageSize: client.Ptr(client.PageSize(100))}) {
		if err != nil {
			return err
		}
		p.summary.SurveyOutcomes[Outcome{string(survey.Status), string(survey.Reason)}]++
	}
	scores, err := p.api.RetrieveSurveyScores(ctx, &client.RetrieveSurveyScoresParams{Hospital: &p.hospital})
	if err == nil && len(scores.Results) == 1 {
		p.summary.Scores = &scores.Results[0]
	}
	return err
}
