DROP TABLE user_messages, action_log, actions;
