"""Where and how a model keeps facts: functions of an opened model and questions about facts."""
