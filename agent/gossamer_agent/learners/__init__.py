"""Learners that Gossamer did not make, behind the protocol of `gossamer_agent.learner`.

    flower:[FOLDER/]MODULE:NAME[?KEY=VALUE&...]   a Flower NumPyClient, unchanged
    process:COMMAND ARGUMENT ...                  any program, over its standard input and output

What they compute is their owner's affair; what they return is checked like any other's.
"""
